"""Options that the commands share, and how their values are read."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from watchllm_proxy import settings
from watchllm_proxy.commands.api_client import ApiClient, CommandFailed, ExitStatus

Url = Annotated[
    str | None,
    typer.Option(
        "--url", help="Address of the server; default: http://WATCHLLM_HOST:WATCHLLM_PORT.", metavar="URL"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document, as the API gives it.")]
Ndjson = Annotated[bool, typer.Option("--ndjson", help="One JSON object a line.")]
Since = Annotated[
    str | None,
    typer.Option("--since", help="Only newer ones: 30s, 15m, 1h, 2d, or a date like 2026-01-31.", metavar="WHEN"),
]

_AGE = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def now_us() -> int:
    return round(datetime.now(UTC).timestamp() * 1e6)


def client(url: str | None) -> ApiClient:
    chosen = settings.load()
    return ApiClient(url or chosen.base_url, key=chosen.key)


def instant_of(when: str | None, now: datetime) -> str | None:
    """`1h` or a date as RFC 3339 in UTC; a date without a zone is local. Raises CommandFailed (usage)."""
    if when is None:
        return None
    return _given(when, "--since", now).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant_us(when: str, option: str, now: datetime) -> int:
    """The same in microseconds since 1970; `option`: where it was given."""
    return (_given(when, option, now) - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def duration_s(written: str, option: str) -> int:
    """`15m` in seconds; `option`: where it was given. Raises CommandFailed (usage)."""
    age = _AGE.fullmatch(written.strip().lower())
    if age is None:
        raise CommandFailed(f"{option} {written!r}: give a time like 30s, 15m, 1h, 2d", ExitStatus.USAGE)
    return round(timedelta(**{_UNITS[age[2]]: int(age[1])}).total_seconds())


def _given(when: str, option: str, now: datetime) -> datetime:
    try:
        return _moment(when.strip(), now).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise CommandFailed(
            f"{option} {when!r}: give an age like 30s, 15m, 1h, 2d, or a date like 2026-01-31", ExitStatus.USAGE
        ) from exc


def _moment(when: str, now: datetime) -> datetime:
    age = _AGE.fullmatch(when.lower())
    if age is None:
        return datetime.fromisoformat(when)
    return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
