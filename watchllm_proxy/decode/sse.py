"""Server-sent events, parsed as the WHATWG HTML page says (section 9.2), from bytes cut anywhere.

One thing differs on purpose: an event at the end of the stream without its blank line is still given by
`close`. Some servers forget the line, and of a broken stream we want all that came.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"
_SPACE = 0x20
_BLANK = frozenset({b"\n", b"\r\n", b"\r"})


class Event(NamedTuple):
    """`name` is empty where no `event:` line came. `data` keeps its bytes: UTF-8, or what passed for it."""

    name: str
    data: bytes


class SseParser:
    """Feed it bytes; it gives the events that are complete. Linear in the bytes, however they are cut."""

    def __init__(self) -> None:
        self._partial: list[bytes] = []  # pieces of a line whose end has not come
        self._ended_in_cr = False  # a LF at the start of the next bytes belongs to that CR
        self._is_first_line = True
        self._name = ""
        self._data: list[bytes] = []

    def feed(self, content: bytes) -> list[Event]:
        if self._ended_in_cr and content[:1] == b"\n":
            content = content[1:]
            self._ended_in_cr = False
        if not content:
            return []
        self._ended_in_cr = content.endswith(b"\r")
        lines = content.splitlines(keepends=True)  # of bytes: LF, CR and CRLF only
        rest = lines.pop() if lines[-1][-1] not in b"\n\r" else b""
        if lines and self._partial:
            lines[0] = b"".join((*self._partial, lines[0]))
            self._partial.clear()
        if rest:
            self._partial.append(rest)
        return self._take(lines)

    def close(self) -> list[Event]:
        """The last event, if the stream ended without saying so."""
        rest, self._partial = b"".join(self._partial), []
        return self._take([rest + b"\n", b"\n"] if rest else [b"\n"])

    def _take(self, lines: list[bytes]) -> list[Event]:
        """Whole lines, with their ends."""
        if lines and self._is_first_line:
            self._is_first_line = False
            lines[0] = lines[0].removeprefix(_BOM)
        events: list[Event] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6 if line[5] == _SPACE else 5 :].rstrip(b"\r\n"))
            elif line in _BLANK:
                if self._data:
                    events.append(Event(self._name, b"\n".join(self._data)))
                    self._data.clear()
                self._name = ""
            elif line.startswith(b"event:"):
                self._name = line[6:].rstrip(b"\r\n").decode("utf-8", "replace").removeprefix(" ")
            elif line.rstrip(b"\r\n") == b"data":
                self._data.append(b"")
            # Comments (": OPENROUTER PROCESSING"), id, retry and unknown fields carry nothing for us.
        return events


def parse_events(content: bytes) -> Sequence[tuple[str, bytes]]:
    """All events of a whole (or cut) stream, as plain pairs: (name, data)."""
    plain = _plain_data(content)
    if plain is not None:
        return list(zip(repeat(""), plain))
    parser = SseParser()
    return [*parser.feed(content), *parser.close()]


def _plain_data(content: bytes) -> list[bytes] | None:
    """Of a stream in which each event is one line of data, as nearly all are: found in a tenth of the time, by
    counting. None: something else stands there, too."""
    if b"\r" in content:
        return None
    blocks = content.split(b"\n\n")
    if content.count(b"\n") != 2 * (len(blocks) - 1):
        return None  # a block of several lines
    data = [block[6:] for block in blocks if block]
    begun = content.startswith(b"data: ") + content.count(b"\n\ndata: ")
    return data if begun == len(data) else None


def looks_like_events(content: bytes) -> bool:
    """Tell a stream by its first bytes, for upstreams that forget the content type."""
    start = content[:64].removeprefix(_BOM).lstrip(b"\r\n")
    return start.startswith((b"data:", b"event:", b"id:", b"retry:", b":"))
