"""What the handlers share: typed keys of the application, and the small questions they all ask of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from watchllm_proxy.console.reading import RunReading
from watchllm_proxy.records import DEFAULT_PROJECT_ID
from watchllm_proxy.settings import Settings


@dataclass(frozen=True, slots=True)
class Health:
    """How the parts behind this console are. `problems` are sentences for a person; none means all is well."""

    problems: tuple[str, ...] = ()
    is_upstream_reachable: bool | None = None  # None: nobody has asked yet
    upstream_ms: float | None = None  # how long it took to connect
    started_at_us: int | None = None


ProjectOf = Callable[[web.Request], str | None]
"""The project a request may read; None when it shows a key that is unknown or may not read."""

HealthOf = Callable[[], Awaitable[Health]]

READING = web.AppKey("READING", RunReading)  # type: ignore[type-abstract]
SETTINGS = web.AppKey("SETTINGS", Settings)
HEALTH = web.AppKey("HEALTH", HealthOf)  # type: ignore[arg-type]
PROJECT_OF = web.AppKey("PROJECT_OF", ProjectOf)  # type: ignore[arg-type]


def now_us() -> int:
    return time.time_ns() // 1000


def default_project(request: web.Request) -> str | None:
    """Everybody who reaches the console reads `default`: the choice for one person on one machine."""
    return DEFAULT_PROJECT_ID


def project_of(request: web.Request) -> str:
    """The project this request reads. Raises 401 when it shows a key that is no good."""
    project_id = request.app[PROJECT_OF](request)
    if project_id is None:
        raise web.HTTPUnauthorized(text="This key is unknown, revoked, or may not read. Send a key with the read scope.")
    return project_id


def reading_of(request: web.Request) -> RunReading:
    return request.app[READING]
