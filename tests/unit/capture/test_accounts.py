"""What a log has taken can be told from its files, whoever was killed and whatever was released."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.capture_records import make_exchange, make_record
from watchllm_proxy.capture.accounts import LogMadeAnew, records_taken
from watchllm_proxy.capture.committer import Committer
from watchllm_proxy.capture.reader import LogReader
from watchllm_proxy.capture.segments import list_segments
from watchllm_proxy.records import LogPosition


def write(directory: Path, count: int, segment_bytes: int = 2048) -> Committer:
    """A writer that has written so many records, in segments of a few each."""
    committer = Committer.open(directory, segment_bytes=segment_bytes)
    for _ in range(count):
        assert committer.commit([make_record(make_exchange(b"x" * 300))]).outcomes == [None]
    return committer


def test_a_log_that_is_not_there_has_taken_nothing(tmp_path: Path) -> None:
    assert records_taken(tmp_path / "w0") == 0


def test_the_count_goes_on_over_starts_kills_and_releases(tmp_path: Path) -> None:
    directory = tmp_path / "w0"
    write(directory, 7).close()
    assert records_taken(directory) == 7
    committer = write(directory, 5)
    assert records_taken(directory) == 12, "while it is being written, too"
    committer.close()
    reader = LogReader(directory)
    reader.release(reader.read(None).end)
    assert len(list_segments(directory)) == 1
    assert records_taken(directory) == 12
    write(directory, 1).close()
    assert records_taken(directory) == 13


def test_records_before_any_position_are_those_a_reader_had(tmp_path: Path) -> None:
    directory = tmp_path / "w0"
    write(directory, 12).close()
    reader, position = LogReader(directory), LogPosition(0, 0)
    for count in range(13):
        assert records_taken(directory, position) == count
        position = reader.read(position, max_records=1).end


def test_a_position_of_a_directory_that_was_lost_is_told(tmp_path: Path) -> None:
    directory = tmp_path / "w0"
    write(directory, 3).close()
    with pytest.raises(LogMadeAnew):
        records_taken(directory, LogPosition(7, 100))


def test_a_torn_tail_is_no_record_and_a_damaged_one_is(tmp_path: Path) -> None:
    directory = tmp_path / "w0"
    write(directory, 3, 1 << 20).close()
    (file,) = list_segments(directory)
    content = file.path.read_bytes()
    file.path.write_bytes(content + b"torn")
    assert records_taken(directory) == 3
    file.path.write_bytes(content)
    second = LogReader(directory).read(None).records[1].position.offset_bytes
    for at in (second, second + 60):  # its header, its payload
        damaged = bytearray(content)
        damaged[at] ^= 0xFF
        file.path.write_bytes(damaged)
        assert records_taken(directory) == 3


def test_where_a_header_is_damaged_the_segments_before_tell(tmp_path: Path) -> None:
    directory = tmp_path / "w0"
    write(directory, 12).close()
    files = list_segments(directory)
    assert len(files) > 3
    for file in files[1:]:
        content = bytearray(file.path.read_bytes())
        content[12] ^= 0xFF
        file.path.write_bytes(content)
    assert records_taken(directory) == 12
