"""What sent values must be before a store sees them.

Postgres keeps no NUL, and UTF-8 no half of a surrogate pair. 60.0 is a whole number in JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from watchllm_proxy.console.answers import Problem

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def is_storable(value: object) -> bool:
    """Whether every text in `value`, names of fields included, can be asked of a store and kept there."""
    waiting = [value]
    while waiting:  # not by recursion: what was sent may be as deep as its parser allows
        found = waiting.pop()
        if isinstance(found, str):
            if _UNSTORABLE.search(found):
                return False
        elif isinstance(found, dict):
            waiting += found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
    return True


def storable_fields(fields: Iterable[tuple[str, object]], status: int) -> None:
    """Raises `Problem` with `status` that names the first field which no store can hold."""
    for name, value in fields:
        if not is_storable(name) or not is_storable(value):
            message = f"{name!r:.60} holds a NUL or half of a surrogate pair. Leave that character out."
            raise Problem(status, "invalid_parameter", message, name if is_storable(name) else None)


def whole_number(value: object) -> int | None:
    """`value` as a whole number, however it was written; None: it is none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
