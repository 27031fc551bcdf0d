"""Damage to a segment costs the record it hits, and no other."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.capture_records import make_exchange, make_record, read_all
from watchllm_proxy.capture import frames
from watchllm_proxy.capture.committer import Committer
from watchllm_proxy.capture.payload import unpack
from watchllm_proxy.capture.reader import LogReader

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "capture"

# One segment serves all examples of a property: each writes the whole file anew.
on_one_segment = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)


@dataclass(frozen=True)
class Log:
    """A log whose one segment holds a few records, and what of it stands where."""

    directory: Path
    segment: Path
    content: bytes
    spans: dict[UUID, tuple[int, int]]

    def survivors(self, content: bytes) -> list[UUID]:
        self.segment.write_bytes(content)
        ids, _ = read_all(self.directory)
        return ids

    def untouched(self, start: int, end: int) -> list[UUID]:
        """Ids of the records that have no byte in `[start, end)`."""
        return [id_ for id_, (first, last) in self.spans.items() if last <= start or first >= end]


def write_log(directory: Path, bodies: list[bytes], *, has_successor: bool) -> Log:
    committer = Committer.open(directory, segment_bytes=1 << 20)
    assert set(committer.commit([make_record(make_exchange(body)) for body in bodies]).outcomes) == {None}
    if has_successor:
        committer.commit([], seal=True)
    committer.close()
    segment = min(directory.glob("*.log"))
    records = LogReader(directory).read(None).records
    starts = [record.position.offset_bytes for record in records]
    content = segment.read_bytes()
    ends = [*starts[1:], len(content)]
    spans = {record.record_id: span for record, span in zip(records, zip(starts, ends, strict=True), strict=True)}
    assert len(spans) == len(bodies)
    return Log(directory, segment, content, spans)


@pytest.fixture(params=["complete", "live"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    """A segment of about 2 kB, with and without a later one."""
    return write_log(tmp_path / "w0", [b"one", b"", b"three" * 20], has_successor=request.param == "complete")


def test_a_flip_of_any_single_byte_loses_at_most_the_record_it_hits(log: Log) -> None:
    ids = list(log.spans)
    assert 1500 < len(log.content) < 3000
    fd = os.open(log.segment, os.O_WRONLY)
    try:
        for at, value in enumerate(log.content):
            hit = next((id_ for id_, (start, end) in log.spans.items() if start <= at < end), None)
            for mask in (0x01, 0x80, 0xFF):
                os.pwrite(fd, bytes([value ^ mask]), at)
                survivors, _ = read_all(log.directory)
                assert survivors == [id_ for id_ in ids if id_ != hit], f"byte {at} ^ {mask:#x}"
            os.pwrite(fd, bytes([value]), at)
    finally:
        os.close(fd)
    assert read_all(log.directory)[0] == ids


def test_a_flip_in_a_complete_segment_is_counted_once_and_one_in_its_header_is_not(tmp_path: Path) -> None:
    log = write_log(tmp_path / "w0", [b"one", b"two", b"three"], has_successor=True)
    for at in range(len(log.content)):
        flipped = bytearray(log.content)
        flipped[at] ^= 0xFF
        log.segment.write_bytes(flipped)
        batch = LogReader(log.directory).read(None)
        assert batch.corrupt_frames == (at >= frames.SEGMENT_HEADER_BYTES), f"byte {at}"
        assert batch.end.segment > int(log.segment.name[:12])


def test_a_cut_at_any_byte_loses_what_lies_behind_it_and_nothing_else(log: Log) -> None:
    for at in range(len(log.content)):
        expected = [id_ for id_, (_, end) in log.spans.items() if end <= at]
        assert log.survivors(log.content[:at]) == expected, f"cut at {at}"


@on_one_segment
@given(data=st.data())
def test_garbage_over_any_stretch_loses_only_the_records_in_it(log: Log, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(log.content) - 1))
    junk = data.draw(st.binary(min_size=1, max_size=600) | st.integers(1, 4096).map(bytes))
    damaged = log.content[:start] + junk + log.content[start + len(junk) :]
    damaged = damaged[: len(log.content)]
    survivors = log.survivors(damaged)
    untouched = log.untouched(start, start + len(junk))
    assert [id_ for id_ in survivors if id_ in untouched] == untouched
    # The junk may happen to equal what it replaced; a record that comes back is then the right one.
    assert len(survivors) == len(set(survivors))


@on_one_segment
@given(data=st.data())
def test_a_stretch_that_vanished_or_was_doubled_never_doubles_a_record(log: Log, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(log.content)))
    end = data.draw(st.integers(start, len(log.content)))
    copies = data.draw(st.sampled_from([0, 2, 3]))
    survivors = log.survivors(log.content[:start] + log.content[start:end] * copies + log.content[end:])
    assert len(survivors) == len(set(survivors))
    before = [id_ for id_, (_, last) in log.spans.items() if last <= start]
    assert survivors[: len(before)] == before


def test_a_zeroed_first_page_loses_what_stood_on_it_and_nothing_else(tmp_path: Path) -> None:
    log = write_log(tmp_path / "w0", [b"%d" % n * 700 for n in range(9)], has_successor=True)
    assert log.survivors(bytes(4096) + log.content[4096:]) == log.untouched(0, 4096)


def test_a_captured_copy_of_the_log_cannot_pose_as_records(tmp_path: Path) -> None:
    """Somebody asks a model about a segment file, and the frame that holds this request is damaged."""
    first = write_log(tmp_path / "w0", [b"one", b"two"], has_successor=False)
    header = frames.decode_segment_header(first.content)
    assert header is not None
    marker = frames.marker_of(header.salt)
    copied = make_exchange()
    body = first.content * 3
    frame = frames.encode_frame_header(marker, len(first.content), copied.exchange_id, [body]) + body
    last = make_exchange()
    last_offset = len(first.content) + len(frame)
    tail = frames.encode_frame_header(marker, last_offset, last.exchange_id, [b""])
    damaged = bytearray(first.content + frame + tail)
    damaged[len(first.content) + frames.MARKER_BYTES] ^= 0xFF  # the length of the frame
    assert first.survivors(bytes(damaged)) == [*first.spans, last.exchange_id]


def test_a_search_finds_the_next_frame_across_windows(tmp_path: Path) -> None:
    """The marker may lie astride the megabyte that is searched at a time."""
    for extra in range(-40, 40, 3):
        directory = tmp_path / f"w{extra}"
        log = write_log(directory, [b"x" * ((1 << 20) + extra), b"last"], has_successor=False)
        damaged = bytearray(log.content)
        damaged[frames.SEGMENT_HEADER_BYTES] ^= 0xFF
        assert log.survivors(bytes(damaged)) == list(log.spans)[1:]
        shutil.rmtree(directory)


def test_a_segment_of_format_1_is_read_as_on_the_day_it_was_written() -> None:
    batch = LogReader(FIXTURES / "segment-v1").read(None)
    assert batch.corrupt_frames == 0
    assert [unpack(record.payload) for record in batch.records] == [
        make_exchange(b"one", b"1", UUID(int=1)),
        make_exchange(b"", b"", UUID(int=2)),
        make_exchange(b"three" * 20, b"3", UUID(int=3)),
    ]
