"""Reading JSON that came from outside: the wrong type reads as empty, never as an exception."""

from __future__ import annotations

import json
from decimal import Decimal

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


def as_number(value: object) -> Decimal | None:
    """A JSON number, exact if it was parsed so; money may also come as text, so that no cent is lost."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | str | Decimal):
        try:
            return Decimal(str(value))
        except ArithmeticError:
            return None
    return None
