"""How many records a log had taken at a position, told by its segments: while it is written, and after a kill.

Each segment's header says how many the log had before it (capture.counts keeps that), its frames tell the rest.
"""

from __future__ import annotations

from pathlib import Path

from watchllm_proxy.capture.scanner import count_headers, records_before
from watchllm_proxy.capture.segments import SegmentFile, list_segments
from watchllm_proxy.records import LogPosition


class LogMadeAnew(Exception):
    """The segment of a position is not there, nor any older one: the log's directory was lost."""


def records_taken(directory: Path, before: LogPosition | None = None) -> int:
    """Records that became durable in a log since there is one; with `before`, those that lie before a position.

    Counts the headers of one segment. Raises `LogMadeAnew` for a position in no segment, `FileNotFoundError` when
    its segment is released meanwhile, `OSError` and `CaptureLogError` where the log cannot be read.
    """
    segments = list_segments(directory)
    if before is None or before == LogPosition(0, 0):
        return 0 if before is not None or not segments else _before(segments) + count_headers(segments[-1])
    older = [file for file in segments if file.number <= before.segment]
    if not older or older[-1].number != before.segment:
        raise LogMadeAnew
    return _before(older) + count_headers(older[-1], before.offset_bytes)


def _before(segments: list[SegmentFile]) -> int:
    """Records before the last of these: as its header tells or, where that is damaged, as those before it do."""
    *earlier, last = segments
    told = records_before(last)
    if told is not None:
        return told
    return _before(earlier) + count_headers(earlier[-1]) if earlier else 0
