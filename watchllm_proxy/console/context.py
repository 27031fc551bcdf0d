"""What the handlers share: typed keys of the application, and the small questions they all ask of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg
from aiohttp import web

from watchllm_proxy.console.desk import CorrectionDesk
from watchllm_proxy.console.reading import RunReading
from watchllm_proxy.grants import ALL_SCOPES, Scope
from watchllm_proxy.records import DEFAULT_PROJECT_ID
from watchllm_proxy.settings import Settings

if TYPE_CHECKING:  # they ask for this context themselves
    from watchllm_proxy.console.account import AccountDesk
    from watchllm_proxy.console.loading import LineMemory
    from watchllm_proxy.console.login import Logins
    from watchllm_proxy.console.redaction import RedactionDesk
    from watchllm_proxy.console.topbar import TopBar
    from watchllm_proxy.store.plans import Feature


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something is away, and is tried now and then."""

    since_us: int
    tries: int  # since then, all in vain
    retry_in_s: float  # 0: it is being tried


@dataclass(frozen=True, slots=True)
class Health:
    """How the parts behind this console are.

    `checks` names each part and says, in a sentence for a person, what is wrong with it; None means it is well.
    `waiting` says of those that are away how long, and when they are tried again.
    """

    checks: Mapping[str, str | None] = field(default_factory=dict)
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    is_upstream_reachable: bool | None = None  # None: nobody has asked yet
    upstream_ms: float | None = None  # how long it took to connect
    started_at_us: int | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(detail for detail in self.checks.values() if detail is not None)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks: a key, a person who logged in, or anybody where that is allowed."""

    project_id: str
    scopes: frozenset[Scope] = ALL_SCOPES
    user_name: str | None = None  # of a person; None: a key, or nobody in particular
    form_token: str = ""  # what the forms of this person's session carry

    @property
    def is_operator(self) -> bool:
        """Runs the installation, for it administers the project `default`: may make projects, and see them all."""
        return self.project_id == DEFAULT_PROJECT_ID and Scope.ADMIN in self.scopes


VisitorOf = Callable[[web.Request], Awaitable[Visitor | None]]
"""Who asks; None when the request shows a key that is not in force, or none where one is needed."""

HealthOf = Callable[[], Awaitable[Health]]

ACCOUNTS: web.AppKey[AccountDesk] = web.AppKey("ACCOUNTS")
FEATURES: web.AppKey[dict[object, Feature]] = web.AppKey("FEATURES")
"""What a project's plan must have for a handler; one that is not there is in every plan."""

REDACTION: web.AppKey[RedactionDesk] = web.AppKey("REDACTION")
POOL: web.AppKey[asyncpg.Pool | None] = web.AppKey("POOL")
"""Where keys, provider keys and people are; None: this console has none of it."""

LOGINS: web.AppKey[Logins] = web.AppKey("LOGINS")

READING: web.AppKey[RunReading] = web.AppKey("READING")
DESK: web.AppKey[CorrectionDesk] = web.AppKey("DESK")
LINES: web.AppKey[LineMemory] = web.AppKey("LINES")
"""Steps of the runs that were looked at last."""

SETTINGS: web.AppKey[Settings] = web.AppKey("SETTINGS")
HEALTH: web.AppKey[HealthOf] = web.AppKey("HEALTH")
VISITOR_OF: web.AppKey[VisitorOf] = web.AppKey("VISITOR_OF")
NEEDED: web.AppKey[dict[object, Scope | None]] = web.AppKey("NEEDED")
"""The scope that each handler needs; None: it serves everybody. A handler that is not there serves nobody."""

TOP_BAR: web.RequestKey[TopBar] = web.RequestKey("TOP_BAR")
"""On pages for people only."""

VISITOR: web.RequestKey[Visitor] = web.RequestKey("VISITOR")


def now_us() -> int:
    return time.time_ns() // 1000


async def owner_of_default(request: web.Request) -> Visitor | None:
    """Everybody who reaches the console owns `default`: the choice for one person on one machine."""
    return Visitor(DEFAULT_PROJECT_ID)


def project_of(request: web.Request) -> str:
    """The project this request is about. Only for handlers of routes that need a scope."""
    return request[VISITOR].project_id


def may(request: web.Request, scope: Scope) -> bool:
    """Whether a page offers what needs `scope`. The routes are guarded whatever this says."""
    visitor = request.get(VISITOR)
    return visitor is not None and scope in visitor.scopes


def reading_of(request: web.Request) -> RunReading:
    return request.app[READING]


def desk_of(request: web.Request) -> CorrectionDesk:
    return request.app[DESK]
