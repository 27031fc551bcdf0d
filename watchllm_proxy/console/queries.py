"""Query parameters of lists of runs and of costs, read strictly.

A name we do not know or a value we cannot use is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from watchllm_proxy.console.answers import BadParameter
from watchllm_proxy.records import FlagKind, RunStatus
from watchllm_proxy.store.sessions import SessionQuery
from watchllm_proxy.store.shapes import RunQuery, RunSort

MAX_LIMIT = 200
MAX_OFFSET = 1_000_000
MAX_TEXT = 200
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RELATIVE = re.compile(r"(\d{1,6})([smhd])")

_Member = TypeVar("_Member", bound=StrEnum)
Parse = Callable[[str, int], object]


def _whole(low: int, high: int) -> Parse:
    def parse(raw: str, now_us: int) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", raw) or not low <= int(raw) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(raw)

    return parse


def _one_of(members: type[_Member]) -> Parse:
    def parse(raw: str, now_us: int) -> _Member:
        try:
            return members(raw)
        except ValueError:
            raise ValueError(f"must be one of {', '.join(members)}") from None

    return parse


def _text(raw: str, now_us: int) -> str:
    if len(raw) > MAX_TEXT:
        raise ValueError(f"must be at most {MAX_TEXT} characters")
    return raw


def parse_instant(raw: str, now_us: int) -> int:
    """Microseconds since the epoch of an RFC 3339 instant, or of a time ago such as 15m, 24h, 7d."""
    if match := _RELATIVE.fullmatch(raw):
        return now_us - int(match[1]) * _UNITS_S[match[2]] * 1_000_000
    try:
        at = datetime.fromisoformat(raw)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return int(at.timestamp()) * 1_000_000 + at.microsecond
    except (ValueError, OverflowError):
        raise ValueError(
            "must be an instant such as 2026-01-15T10:00:00Z, or a time ago such as 15m, 24h, 7d"
        ) from None


def _kind(raw: str, now_us: int) -> bool:
    if raw not in {"agent", "all"}:
        raise ValueError("must be agent, or all to include lone chats")
    return raw == "all"


def _errors(raw: str, now_us: int) -> bool:
    if raw != "any":
        raise ValueError("must be any, for runs in which something went wrong, however they ended")
    return True


_PARAMETERS: Mapping[str, tuple[str, Parse]] = {
    "limit": ("limit", _whole(1, MAX_LIMIT)),
    "offset": ("offset", _whole(0, MAX_OFFSET)),
    "status": ("status", _one_of(RunStatus)),
    "agent": ("agent", _text),
    "flag": ("flag", _one_of(FlagKind)),
    "session": ("session", _text),
    "user": ("user", _text),
    "q": ("q", _text),
    "since": ("since_us", parse_instant),
    "until": ("until_us", parse_instant),
    "sort": ("sort", _one_of(RunSort)),
    "kind": ("with_chats", _kind),
    "errors": ("with_errors", _errors),
}


def run_query(query: Mapping[str, str], now_us: int) -> RunQuery:
    """Empty values mean "any", as a form sends them. Raises `BadParameter` naming the first wrong one."""
    return RunQuery(**_values(_PARAMETERS, query, now_us))  # type: ignore[arg-type]


def _values(known: Mapping[str, tuple[str, Parse]], query: Mapping[str, str], now_us: int) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, raw in query.items():
        if name not in known:
            raise BadParameter(name, f"There is no parameter {name!r:.60}; there are {', '.join(known)}.")
        if raw:
            field, parse = known[name]
            values[field] = _parsed(name, raw, parse, now_us)
    return values


def _turns(raw: str, now_us: int) -> bool:
    if raw not in {"several", "any"}:
        raise ValueError("must be several, or any to include those of a single turn")
    return raw == "any"


_PAGE: Mapping[str, tuple[str, Parse]] = {name: _PARAMETERS[name] for name in ("limit", "offset")}
_OF_SESSIONS: Mapping[str, tuple[str, Parse]] = {**_PAGE, "turns": ("with_single", _turns)}


def session_query(query: Mapping[str, str], now_us: int) -> SessionQuery:
    """Empty values are as if left out. Raises `BadParameter` naming the first wrong one."""
    return SessionQuery(**_values(_OF_SESSIONS, query, now_us))  # type: ignore[arg-type]


def page_query(query: Mapping[str, str], usual: int) -> tuple[int, int]:
    """`limit`, `usual` where it is left out, and `offset`. Raises `BadParameter`."""
    values = {"limit": usual, "offset": 0, **_values(_PAGE, query, 0)}
    return int(str(values["limit"])), int(str(values["offset"]))


class CostsBy(StrEnum):
    """What costs are told apart by."""

    MODEL = "model"
    AGENT = "agent"
    VERSION = "version"
    TOOL = "tool"
    KEY = "key"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class CostsQuery:
    """Costs of the calls that began within [from_us, to_us): whole hours, and whole days of UTC by key."""

    by: CostsBy
    since: str  # as it was asked
    from_us: int
    to_us: int


MAX_COST_DAYS = 400
COSTS_SINCE = "30d"
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US


def costs_query(query: Mapping[str, str], now_us: int) -> CostsQuery:
    """Empty values are as if left out. Raises `BadParameter` naming the first wrong one."""
    for name in query:
        if name not in {"by", "since", "until"}:
            raise BadParameter(name, f"There is no parameter {name!r:.60}; there are by, since, until.")
    by = CostsBy(str(_parsed("by", query.get("by") or CostsBy.MODEL, _one_of(CostsBy), now_us)))
    since = query.get("since") or COSTS_SINCE
    from_us = int(str(_parsed("since", since, parse_instant, now_us)))
    until = query.get("until")
    to_us = int(str(_parsed("until", until, parse_instant, now_us))) if until else now_us
    if not 0 <= from_us < to_us <= now_us + _DAY_US:
        raise BadParameter("since", "since must lie before until, and until not in the future.")
    if to_us - from_us > MAX_COST_DAYS * _DAY_US:
        raise BadParameter("since", f"since must lie at most {MAX_COST_DAYS} days before until.")
    unit_us = _DAY_US if by is CostsBy.KEY else _HOUR_US
    return CostsQuery(by, since, from_us // unit_us * unit_us, -(-to_us // unit_us) * unit_us)


def tail_query(query: Mapping[str, str]) -> tuple[UUID | None, int]:
    """`after` and `limit` of the list of calls."""
    for name in query:
        if name not in {"after", "limit"}:
            raise BadParameter(name, f"There is no parameter {name!r:.60}; there are after, limit.")
    after = _parsed("after", query["after"], _uuid, 0) if "after" in query else None
    limit = _parsed("limit", query["limit"], _whole(1, MAX_LIMIT), 0) if "limit" in query else 50
    return after, limit  # type: ignore[return-value]


def _uuid(raw: str, now_us: int) -> UUID:
    try:
        return UUID(raw)
    except ValueError:
        raise ValueError("must be the call_id of a call") from None


def _parsed(name: str, raw: str, parse: Parse, now_us: int) -> object:
    try:
        return parse(raw, now_us)
    except ValueError as exc:
        raise BadParameter(name, f"{name} {exc}.") from None
