"""Reading answers that are nearly JSON: what a client may well have read, we read too, and say so.

Servers write `-Infinity` among log probabilities, half of a surrogate pair where two tokens share a character,
and bytes that are no UTF-8. Each is replaced (by null, "?" or U+FFFD), so that it does not cost the whole answer.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import orjson

from watchllm_proxy.decode.values import Json


class Read(NamedTuple):
    """`is_exact` is False where something was replaced."""

    value: Json
    is_exact: bool


def read_json(data: bytes) -> Read | None:
    """None for what is no JSON even so."""
    try:
        return Read(orjson.loads(data), is_exact=True)
    except orjson.JSONDecodeError:
        pass
    try:
        value = json.loads(data.decode("utf-8", "replace"), parse_constant=lambda _: None)
        text = json.dumps(value, ensure_ascii=False)
        return Read(orjson.loads(text.encode("utf-8", "replace")), is_exact=False)
    except (ValueError, RecursionError):
        return None
