"""What every page says at its top: how the proxy and its stores are, and how much of the month's quota is left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from aiohttp import hdrs, web

from watchllm_proxy.console.account import account_of
from watchllm_proxy.console.context import HEALTH, TOP_BAR, VISITOR, Health, now_us
from watchllm_proxy.console.pages.account import percent, warning_sentences
from watchllm_proxy.errors import StoreUnavailable

QUOTA_KNOWN_US = 30_000_000
"""A page is not to wait for a count each time."""

MAX_KNOWN = 1000


@dataclass(frozen=True, slots=True)
class QuotaLine:
    """Shown from 80 % on. `percent` may be over 100."""

    percent: int
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TopBar:
    """`tone`: "ok" | "warn" | "bad". `problems`: what is away, in sentences."""

    words: str
    tone: str
    problems: tuple[str, ...]
    quota: QuotaLine | None


QUOTAS: web.AppKey[dict[str, tuple[int, QuotaLine | None]]] = web.AppKey("QUOTAS")
"""By project: until when it is known, and which."""


@web.middleware
async def with_top_bar(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """For people alone: what programs ask for has none. Stands behind the guard, which knows who asks."""
    is_page = "text/html" in request.headers.get(hdrs.ACCEPT, "") and not request.path.startswith("/static/")
    if is_page and request.match_info.http_exception is None:
        quota = await _quota(request) if VISITOR in request else None
        request[TOP_BAR] = top_bar(await request.app[HEALTH](), quota)
    return await handler(request)


def top_bar(health: Health, quota: QuotaLine | None) -> TopBar:
    """Requests pass whatever is away; only without the upstream they do not."""
    if health.is_upstream_reachable is False:
        return TopBar("Upstream unreachable", "bad", health.problems, quota)
    if health.problems:
        return TopBar("Requests pass", "warn", health.problems, quota)
    return TopBar("Proxy up", "ok", (), quota)


async def _quota(request: web.Request) -> QuotaLine | None:
    """As it was last known, while Postgres is away."""
    project_id, now = request[VISITOR].project_id, now_us()
    known = request.app[QUOTAS]
    until_us, line = known.get(project_id, (0, None))
    if now < until_us:
        return line
    today = datetime.fromtimestamp(now / 1e6, UTC)
    try:
        month = await account_of(request, date(today.year, today.month, 1))
    except StoreUnavailable:
        return line
    used = max((share for share in (month.quota_used, month.cap_used) if share is not None), default=None)
    line = QuotaLine(percent(used) or 0, tuple(warning_sentences(month))) if month.warnings else None
    if len(known) >= MAX_KNOWN:
        known.clear()
    known[project_id] = now + QUOTA_KNOWN_US, line
    return line
