"""JSON, and JSON inside of text: values are redacted where they stand, and the document stays valid.

A string in a document is redacted as the text that it is, unescaped; its key tells what it is. A number that is a
card becomes a string. Text that is a JSON document itself (arguments of a tool call) is read token by token, so
that its spelling stays.
"""

from __future__ import annotations

from typing import TypeAlias

import orjson

from watchllm_proxy.enrich.redaction.finding import Redaction, telling
from watchllm_proxy.enrich.redaction.rules import compiled

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_MIN_DIGITS = 7
_TOKEN = compiled(r'("(?:[^"\\]|\\.)*"(?:\s*:)?|-?[0-9]{7,}(?:[.eE][0-9eE+.-]*)?)')
_MAX_DEPTH = 4
"""JSON in JSON in JSON: deeper text is redacted as text."""


def redact_json(value: Json, redaction: Redaction, context: bytes = b"") -> Json:
    """Strings, keys and long numbers; the same object where nothing was found."""
    if isinstance(value, str):
        return redact_string(value, redaction, context)
    if isinstance(value, dict):
        return _redact_object(value, redaction)
    if isinstance(value, list):
        items = [redact_json(item, redaction, context) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if isinstance(value, int) and not isinstance(value, bool):
        digits = str(value)
        if len(digits) >= _MIN_DIGITS:
            redacted = redact_string(digits, redaction, context)
            return value if redacted == digits else redacted
    return value


def _redact_object(value: dict[str, Json], redaction: Redaction) -> dict[str, Json]:
    result: dict[str, Json] = {}
    is_changed = False
    for key, inner in value.items():
        new_key = redact_string(key, redaction)
        new = redact_json(inner, redaction, telling(key))
        is_changed = is_changed or new is not inner or new_key is not key
        result[new_key] = new
    return result if is_changed else value


def redact_string(text: str, redaction: Redaction, context: bytes = b"", depth: int = 0) -> str:
    """The same object where nothing was found. Text that is JSON stays JSON."""
    if redaction.rules.is_plain(text, has_context=bool(context)) or _is_data_url(text):
        return text
    known = redaction.known.get(text, context, depth)
    if known is None:
        alone = redaction.alone()
        raw = _encoded(text)
        redacted = _redact_raw(raw, alone, context, depth)
        known = alone.outcome(None if redacted == raw else redacted.decode("utf-8", "replace"))
        redaction.known.put(known, text, context, depth)
    return redaction.counted(known) or text


def redact_bytes(raw: bytes, redaction: Redaction) -> bytes:
    """UTF-8 text, or a JSON document."""
    return _redact_raw(raw, redaction, b"", 0)


def redact_document(raw: bytes, redaction: Redaction) -> bytes:
    """JSON in canonical form; the same object where nothing was found."""
    if not raw:
        return raw
    value = orjson.loads(raw)
    redacted = redact_json(value, redaction)
    if redacted is value:
        return raw
    # A copy, for messages are kept: what orjson gives holds on to all the room that it wrote in (decision 0260).
    return b"".join((orjson.dumps(redacted, option=orjson.OPT_SORT_KEYS), b""))


def _redact_raw(raw: bytes, redaction: Redaction, context: bytes, depth: int) -> bytes:
    if depth < _MAX_DEPTH and raw.lstrip()[:1] in (b"{", b"[", b'"') and _is_json(raw):
        return _redact_tokens(raw, redaction, context, depth)
    return redaction.text(raw, context)


def _is_json(raw: bytes) -> bool:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    return True


def _redact_tokens(raw: bytes, redaction: Redaction, context: bytes, depth: int) -> bytes:
    """Each string and long number of a valid document, in its place."""
    pieces: list[bytes] = []
    at, key = 0, context
    for match in _TOKEN.finditer(raw):
        start, end = match.span(1)
        token = raw[start:end]
        if token[:1] != b'"':
            new = redaction.text(token, key)
            replacement = token if new == token else orjson.dumps(new.decode("utf-8", "replace"))
        elif token[-1:] == b":":
            closing = token.rindex(b'"') + 1
            name: str = orjson.loads(token[:closing])
            replacement = _dumped(name, redact_string(name, redaction), token[:closing]) + token[closing:]
            key = telling(name)
        else:
            text: str = orjson.loads(token)
            replacement = _dumped(text, redact_string(text, redaction, key, depth + 1), token)
        pieces += (raw[at:start], replacement)
        at = end
    return b"".join((*pieces, raw[at:]))


def _dumped(old: str, new: str, spelt: bytes) -> bytes:
    """As it was spelt, where it did not change."""
    return spelt if new is old else orjson.dumps(new)


def _encoded(text: str) -> bytes:
    """Lone surrogates cannot be encoded; what is around them can."""
    return text.encode("utf-8", "replace")


def _is_data_url(text: str) -> bool:
    """An image or another file, inline."""
    return text.startswith("data:") and ";base64," in text[:100]
