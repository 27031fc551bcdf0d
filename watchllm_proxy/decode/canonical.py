"""JSON in one spelling, so that equal bodies have equal bytes and equal hashes.

The canonical form sorts keys and leaves out white space; numbers are written as orjson reads them. What orjson
cannot carry over faithfully is refused by `parse` with the reason, so that whatever is parsed can be
rebuilt: `rebuild(split(body)) == body` for every body that `parse` lets through.
"""

from __future__ import annotations

import hashlib
import json

import orjson

from watchllm_proxy.decode.values import Json

_DIGITS_TO_ZERO = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_MANY_DIGITS = 19
_EVERY = 6
"""Of each so many bytes one is looked at: many digits in a row show as at least three."""
_TOO_DEEP = "nested deeper than 254 levels"
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1


class UnfaithfulJson(ValueError):
    """This text is no JSON, or holds something that cannot be kept exactly. `str()` says what."""


def dump(value: Json) -> bytes:
    """The canonical bytes of a value that orjson read.

    Raises UnfaithfulJson for one nested too deep to be written; `parse` gives none such.
    """
    try:
        written = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # JSONEncodeError: "Recursion limit reached"
        raise UnfaithfulJson(_TOO_DEEP) from None
    # orjson (3.13) gives bytes that hold on to all the room that it wrote in: 4 KiB at least, eight times what is
    # kept of a message. A copy has its own size.
    return b"".join((written, b""))


def digest(content: bytes) -> bytes:
    """blake2b-128: the address of a message, and the identity of a body."""
    return hashlib.blake2b(content, digest_size=16).digest()


def parse(raw: bytes) -> Json:
    """Parse a body that is to be rebuilt later.

    Raises UnfaithfulJson for: no JSON at all, NaN, lone surrogates, a byte order mark, UTF-16, nesting deeper than
    254 (orjson's limit for writing), integers beyond 64 bits (orjson would round them), and duplicate keys
    (orjson keeps the last one only).
    """
    try:
        value = orjson.loads(raw)
        quotes = orjson.dumps(value).count(b'"')
    except orjson.JSONDecodeError as error:
        raise UnfaithfulJson(error.msg) from None
    except TypeError:  # JSONEncodeError: "Recursion limit reached"
        raise UnfaithfulJson(_TOO_DEEP) from None
    # Every key and string brings two quotes, so a lost duplicate key shows in the count. Only an escaped
    # \u0022 can hide that, and only long digits can hide a rounded integer: then look closely.
    if quotes != raw.count(b'"') or b"\\u0022" in raw or _has_many_digits(raw):
        _look_closely(raw)
    return value


def _has_many_digits(raw: bytes) -> bool:
    """Whether 19 digits stand in a row: much faster than a regular expression, and than looking at every byte."""
    is_likely = b"0" * (_MANY_DIGITS // _EVERY) in raw[::_EVERY].translate(_DIGITS_TO_ZERO)
    return is_likely and b"0" * _MANY_DIGITS in raw.translate(_DIGITS_TO_ZERO)


def _look_closely(raw: bytes) -> None:
    """The slow, exact check for what orjson loses silently."""
    json.loads(raw, object_pairs_hook=_refuse_duplicates, parse_int=_refuse_huge)


def _refuse_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UnfaithfulJson("an object has the same key twice")
    return found


def _refuse_huge(digits: str) -> int:
    # 20 digits and a sign cover 64 bits; int() of thousands of digits is slow and, past 4,300, refused.
    number = int(digits) if len(digits) <= 21 else _MAX_INT + 1
    if not _MIN_INT <= number <= _MAX_INT:
        raise UnfaithfulJson("an integer needs more than 64 bits")
    return number
