"""Texts as sets of fingerprints, so that one can be found inside another without keeping either.

A text is read as words (runs of letters, digits and underscores; characters beyond ASCII stand alone, which
serves scripts without spaces), and each four words in a row make one fingerprint. Case, punctuation and white
space do not count, so a text is found again in JSON, in a quotation or between tags. A text of fewer than
four words is one fingerprint as a whole: it is found where it stands alone.

A *sketch* is the few smallest fingerprints of a text. What holds the text holds its sketch; what shares half
of the text shares about half of the sketch (Broder, "On the resemblance and containment of documents", 1997).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from zlib import crc32

WORDS_IN_A_ROW = 4
MAX_TEXT_CHARACTERS = 32 * 1024
"""Of a longer text the beginning and the end are read, half as much each."""

_WORD = re.compile(rb"[a-z0-9_]+|[\xc0-\xff][\x80-\xbf]+")
_MASK = (1 << 64) - 1
_FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
_MIX = 0xFF51AFD7ED558CCD
_HEX_DIGITS = 16

Fingerprints = frozenset[int]
NOTHING: Fingerprints = frozenset()


@lru_cache(maxsize=64)
def fingerprints(text: str) -> Fingerprints:
    """All of a text. The same on every machine and in every process. A few are remembered: system prompts come
    again and again, and several rules ask for the texts of one call."""
    if len(text) > MAX_TEXT_CHARACTERS:
        text = text[: MAX_TEXT_CHARACTERS // 2] + "\n" + text[-MAX_TEXT_CHARACTERS // 2 :]
    hashes = _words(text)
    if not hashes:
        return NOTHING
    if len(hashes) < WORDS_IN_A_ROW:
        return frozenset({_of_all(hashes)})
    one, two, three, four = _FACTORS
    rows = zip(hashes, hashes[1:], hashes[2:], hashes[3:], strict=False)
    # A list, for a generator takes half as long again, and this reads all text that is new.
    return frozenset([(a * one + b * two + c * three + d * four) & _MASK for a, b, c, d in rows])


def of_line(line: str) -> int | None:
    """One for the whole line; None where it has fewer than two words."""
    hashes = _words(line[:MAX_TEXT_CHARACTERS])
    return _of_all(hashes) if len(hashes) > 1 else None


def _words(text: str) -> list[int]:
    return [crc32(word) for word in _WORD.findall(text.lower().encode("utf-8", "replace"))]


def _of_all(hashes: list[int]) -> int:
    return (crc32(repr(hashes).encode()) * _MIX & _MASK) ^ len(hashes)


def sketch(found: Fingerprints, size: int) -> tuple[int, ...]:
    return tuple(sorted(found)[:size])


def share(sketched: Iterable[int], found: Fingerprints | set[int]) -> float:
    """How much of a sketched text a text holds: 0 to 1."""
    present = [fingerprint in found for fingerprint in sketched]
    return sum(present) / len(present) if present else 0.0


def packed(sketched: Iterable[int]) -> str:
    return "".join(f"{fingerprint:0{_HEX_DIGITS}x}" for fingerprint in sketched)


def unpacked(text: str) -> tuple[int, ...]:
    return tuple(int(text[at : at + _HEX_DIGITS], 16) for at in range(0, len(text), _HEX_DIGITS))
