"""Reading JSON that came from outside: the wrong type reads as empty, never as an exception."""

from __future__ import annotations

import json

JsonObject = dict[str, object]


def parse(raw: bytes | str) -> object:
    """The JSON value in `raw`, or None when it is none."""
    try:
        value: object = json.loads(raw)
    except ValueError:
        return None
    return value


def as_object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def as_int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_float(value: object) -> float | None:
    """A JSON number; money may come as text, so that no cent is lost on the way."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(as_text(value))
    except ValueError:
        return None
