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
import struct
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import chain
from zlib import crc32

from watchllm_proxy.sessionize.recent import Recent

WORDS_IN_A_ROW = 4
MAX_TEXT_CHARACTERS = 32 * 1024
"""Of a longer text the beginning and the end are read, half as much each."""

MAX_REMEMBERED_CHARACTERS = 2_000_000
"""Of texts whose fingerprints are kept at hand: system prompts, tasks, histories. Program text takes 18 MB so."""

_ENTRY_CHARACTERS = 64  # what an entry takes beside its text

_WIDE = re.compile(rb"[\xc0-\xff][\x80-\xbf]+")
_WORD_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_") | frozenset(range(0x80, 0x100))
_BREAKS = frozenset(b"\n\v\f\x1c\x1d\x1e")  # where `str.splitlines` ends a line of ASCII; "\r" is not counted on
_OTHERS_TO_SPACE_BUT_BREAKS = bytes(
    0x0A if byte in _BREAKS else byte if byte in _WORD_BYTES else 0x20 for byte in range(256)
)
_OTHERS_TO_SPACE = bytes(byte if byte in _WORD_BYTES else 0x20 for byte in range(256))
_MASK = (1 << 64) - 1
_FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
_FACTORS_IN_LINE = sum(factor << 128 * place for place, factor in enumerate(reversed(_FACTORS)))
_FIRST_SUM = 16 * (WORDS_IN_A_ROW - 1)
_MIX = 0xFF51AFD7ED558CCD
_BYTES = 8
_MANY_WORDS = 9  # fewer are read one after the other in less time
_MANY_IN_LINE = 512  # longer texts are few

Fingerprints = frozenset[int]
NOTHING: Fingerprints = frozenset()

_recent: Recent[str, Fingerprints] = Recent(
    MAX_REMEMBERED_CHARACTERS, size_of=lambda text: len(text) + _ENTRY_CHARACTERS
)


def fingerprints(text: str) -> Fingerprints:
    """All of a text. The same on every machine and in every process.

    What was read lately is remembered: an agent sends its whole conversation again with every call.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        text = text[: MAX_TEXT_CHARACTERS // 2] + "\n" + text[-MAX_TEXT_CHARACTERS // 2 :]
    known = _recent.get(text)
    if known is None:
        known = of_words(words(text))
        _recent.put(text, known)
    return known


def of_words(hashes: list[int]) -> Fingerprints:
    """Of a text whose words have these hashes."""
    if not hashes:
        return NOTHING
    if len(hashes) < WORDS_IN_A_ROW:
        return frozenset({_of_all(hashes)})
    return frozenset(_rows(hashes))


def of_each(texts: Sequence[list[int]]) -> list[Fingerprints]:
    """`of_words` of several texts, of four words each at least: the more words at once, the less work for each."""
    rows = _rows([word for hashes in texts for word in hashes])
    found, start = [], 0
    for hashes in texts:
        found.append(frozenset(rows[start : start + len(hashes) - WORDS_IN_A_ROW + 1]))
        start += len(hashes)
    return found


def of_text_and_lines(
    text: str, lines: Sequence[str], *, min_words: int, is_kept: bool
) -> tuple[Fingerprints, dict[str, Fingerprints]]:
    """Of a text, and of each of its lines (`text.splitlines()`) that has so many words, four at least. The words
    are read once for both: what a line has in a row, the text has, too. `is_kept`: the text's stay at hand."""
    if not text.isascii() or "\r" in text:  # lines may be parted by what is a word, or none
        read = {line: words(line) for line in dict.fromkeys(lines)}
        of_lines = {line: of_words(hashes) for line, hashes in read.items() if len(hashes) >= min_words}
        return fingerprints(text) if is_kept else of_words(words(text)), of_lines
    raw = text.lower().encode().translate(_OTHERS_TO_SPACE_BUT_BREAKS)
    words_of_lines = [in_line.split() for in_line in raw.split(b"\n")]
    hashes = list(map(crc32, chain.from_iterable(words_of_lines)))
    of_lines = {}
    if max(map(len, words_of_lines)) < min_words:
        whole = of_words(hashes)
    else:
        rows = _rows(hashes)
        whole = frozenset(rows)
        end = 0
        for line, in_line in zip(lines, words_of_lines, strict=False):
            start = end
            end += len(in_line)
            if len(in_line) >= min_words:
                of_lines[line] = frozenset(rows[start : end - WORDS_IN_A_ROW + 1])
    if is_kept:
        _recent.put(text, whole)
    return whole, of_lines


def _rows(hashes: list[int]) -> Sequence[int]:
    """One for each four words in a row."""
    if len(hashes) >= _MANY_WORDS:
        return _rows_at_once(hashes)
    one, two, three, four = _FACTORS
    rows = zip(hashes, hashes[1:], hashes[2:], hashes[3:], strict=False)
    return [(a * one + b * two + c * three + d * four) & _MASK for a, b, c, d in rows]


def _rows_at_once(hashes: list[int]) -> tuple[int, ...]:
    """The same sums for all rows by one product of two long numbers, in which each word and each factor has 16
    bytes: room for a sum, whose lower 8 are wanted. This reads all text that is new; it takes a third of the time.
    """
    words_in_line = int.from_bytes(_apart(len(hashes)).pack(*hashes), "little")
    sums = (words_in_line * _FACTORS_IN_LINE).to_bytes(16 * (len(hashes) + 4), "little")
    return _apart(len(hashes) - WORDS_IN_A_ROW + 1).unpack_from(sums, _FIRST_SUM)


def _apart(count: int) -> struct.Struct:
    """So many numbers with 8 bytes after each. `struct` itself remembers too few formats for as many lengths."""
    return _short_apart(count) if count <= _MANY_IN_LINE else struct.Struct("<" + "Q8x" * count)


@cache
def _short_apart(count: int) -> struct.Struct:
    return struct.Struct("<" + "Q8x" * count)


def of_line(line: str) -> int | None:
    """One for the whole line; None where it has fewer than two words."""
    hashes = words(line[:MAX_TEXT_CHARACTERS])
    return _of_all(hashes) if len(hashes) > 1 else None


def words(text: str) -> list[int]:
    """A hash of each word. Found by splitting: several times as fast as a regular expression."""
    raw = text.lower().encode("utf-8", "replace")
    if not text.isascii():
        raw = _WIDE.sub(rb" \g<0> ", raw)
    return list(map(crc32, raw.translate(_OTHERS_TO_SPACE).split()))


def _of_all(hashes: list[int]) -> int:
    return (crc32(repr(hashes).encode()) * _MIX & _MASK) ^ len(hashes)


def sketch(found: Fingerprints, size: int) -> tuple[int, ...]:
    return tuple(sorted(found)[:size])


def share(sketched: Sequence[int], found: Fingerprints) -> float:
    """How much of a sketched text a text holds: 0 to 1."""
    return len(found.intersection(sketched)) / len(sketched) if sketched else 0.0


def packed(sketched: Sequence[int]) -> str:
    return _together(len(sketched)).pack(*sketched).hex()


@lru_cache(maxsize=64)
def _together(count: int) -> struct.Struct:
    return struct.Struct(f">{count}Q")


def packed_one(found: int) -> str:
    return f"{found:016x}"


def unpacked(text: str) -> tuple[int, ...]:
    """Spaces between sketches do not count."""
    raw = bytes.fromhex(text)
    return struct.unpack(f">{len(raw) // _BYTES}Q", raw)
