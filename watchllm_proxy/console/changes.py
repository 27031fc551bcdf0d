"""What differs between a request and the one before it (`insights.differences`), cut to what a page shows.

Unchanged messages are folded to their count, and unchanged text to what stands around a change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice, takewhile

from watchllm_proxy.insights.differences import Change, Differences, MessageChange, Piece, Request, ValueChange

Pieces = list[tuple[str, str]]
"""Text in order, each with its mark: `=` in both, `-` before, `+` now, `…` for so many characters left out."""

MAX_ROWS = 200
MAX_TEXT = 20_000
KEPT_AROUND = 120
"""Characters of unchanged text that are shown on either side of a change."""

_MARKS = {Change.SAME: "=", Change.ADDED: "+", Change.REMOVED: "-"}


def parsed(body: bytes | None) -> dict[str, object] | None:
    """None for what is no JSON object: there are no messages in it."""
    try:
        found = json.loads(body or b"")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def kept(found: Differences) -> int:
    """How many messages both requests begin with."""
    return sum(1 for _ in takewhile(lambda each: each.change is Change.SAME, found.messages))


def fresh(now: object, after: int) -> list[object]:
    """The messages behind the first `after`; a bare text as a message of its role."""
    said = Request.of(now).conversation[after:]
    return [
        each.value if isinstance(each.value, dict) else {"role": each.role, "content": each.value} for each in said
    ]


def rows(found: Differences) -> list[dict[str, object]]:
    """Every message in order; those that did not change are one row with their count, and so are those beyond
    `MAX_ROWS`."""
    shown = list(islice(_rows(found.messages), MAX_ROWS + 1))
    if len(shown) > MAX_ROWS:
        shown[-1] = {"state": "more"}
    return shown


def _rows(messages: Sequence[MessageChange]) -> Iterator[dict[str, object]]:
    for is_same, group in groupby(messages, lambda each: each.change is Change.SAME):
        if is_same:
            yield {"state": "same", "count": sum(1 for _ in group)}
            continue
        for each in group:
            place = each.now if each.now is not None else each.before
            yield {"state": each.change, "at": place, "role": each.role, "pieces": pieces(each.pieces)}


def fields(changed: Iterable[ValueChange]) -> list[dict[str, object]]:
    return [{"name": each.name, "state": each.change, "pieces": pieces(each.pieces)} for each in changed]


def broken_prefix(found: Differences) -> str | None:
    """Where this request stops being the one before with something added, in words; None: it does not."""
    broke = found.prefix_break
    if broke is None:
        return None
    if broke.message_index is None:
        return "The list of tools differs, and it stands before every message."
    text = _words_at(found, broke.message_index)
    after = f' ("{text}")' if text else ""
    place = f"Message {broke.message_index + 1} ({broke.role})"
    return f"{place} differs from character {broke.character + 1:,} on{after}."


def _words_at(found: Differences, index: int) -> str:
    """What the changed message says now where it differs."""
    changed = next((each for each in found.messages if each.now == index), None)
    new = (piece.text for piece in changed.pieces if piece.change is Change.ADDED) if changed else iter(())
    return " ".join(next(new, "")[:40].split())


def pieces(found: Sequence[Piece]) -> Pieces:
    """Of long new or old text the beginning is kept."""
    shown: Pieces = []
    for place, piece in enumerate(found):
        mark, text = _MARKS[piece.change], piece.text
        head, tail = (0 if place == 0 else KEPT_AROUND, 0 if place == len(found) - 1 else KEPT_AROUND)
        if mark != "=":
            head, tail = MAX_TEXT, 0
        if len(text) <= head + tail + KEPT_AROUND:
            shown.append((mark, text))
            continue
        left_out = ("…", f"{len(text) - head - tail:,}")
        ends = ((mark, text[:head]), left_out, (mark, text[len(text) - tail :]))
        shown += [each for each in ends if each[1]]
    return shown
