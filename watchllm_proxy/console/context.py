"""What the handlers share: typed keys of the application, and the small questions they all ask of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from watchllm_proxy.console.desk import CorrectionDesk
from watchllm_proxy.console.reading import RunReading
from watchllm_proxy.records import DEFAULT_PROJECT_ID
from watchllm_proxy.settings import Settings


@dataclass(frozen=True, slots=True)
class Health:
    """How the parts behind this console are.

    `checks` names each part and says, in a sentence for a person, what is wrong with it; None means it is well.
    """

    checks: Mapping[str, str | None] = field(default_factory=dict)
    is_upstream_reachable: bool | None = None  # None: nobody has asked yet
    upstream_ms: float | None = None  # how long it took to connect
    started_at_us: int | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(detail for detail in self.checks.values() if detail is not None)


ProjectOf = Callable[[web.Request], str | None]
"""The project a request may read; None when it shows a key that is unknown or may not read."""

HealthOf = Callable[[], Awaitable[Health]]

READING: web.AppKey[RunReading] = web.AppKey("READING")
DESK: web.AppKey[CorrectionDesk] = web.AppKey("DESK")
SETTINGS: web.AppKey[Settings] = web.AppKey("SETTINGS")
HEALTH: web.AppKey[HealthOf] = web.AppKey("HEALTH")
PROJECT_OF: web.AppKey[ProjectOf] = web.AppKey("PROJECT_OF")


def now_us() -> int:
    return time.time_ns() // 1000


def default_project(request: web.Request) -> str | None:
    """Everybody who reaches the console reads `default`: the choice for one person on one machine."""
    return DEFAULT_PROJECT_ID


def project_of(request: web.Request) -> str:
    """The project this request reads. Raises 401 when it shows a key that is no good."""
    project_id = request.app[PROJECT_OF](request)
    if project_id is None:
        raise web.HTTPUnauthorized
    return project_id


def reading_of(request: web.Request) -> RunReading:
    return request.app[READING]


def desk_of(request: web.Request) -> CorrectionDesk:
    return request.app[DESK]
