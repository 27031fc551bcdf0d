"""Reading JSON that strangers wrote: each reader gives the wanted type or its empty value, and never raises."""

from __future__ import annotations

from typing import Any

Json = Any
"""A decoded JSON value from outside. `Any` is allowed here and nowhere else: see docs/style.md, section 8."""


MAX_COUNT = 2**53
"""Beyond it, a number in JSON is no exact count; every store has room for it."""


def as_dict(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def as_list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def as_str(value: Json) -> str | None:
    """A string that says something: None for anything else, the empty string included."""
    return value if isinstance(value, str) and value else None


def as_count(value: Json) -> int | None:
    """A count or an index: 0 and up. Some upstreams write `12.0`; a boolean is no number, 1e300 no count."""
    if value is None:
        return None
    if type(value) is int:
        return value if 0 <= value <= MAX_COUNT else None
    if not isinstance(value, float):
        return None
    return int(value) if 0 <= value <= MAX_COUNT and value == int(value) else None


def dicts(value: Json) -> list[dict[str, Json]]:
    """The objects in a list; whatever else stands there is passed over."""
    return [item for item in as_list(value) if isinstance(item, dict)]
