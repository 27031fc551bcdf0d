"""What was kept when the process died is handed to the next one: all of it, once, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchllm_proxy import crash_points
from watchllm_proxy.capture import crash_buffer
from watchllm_proxy.capture.crash_buffer import FILE_NAME, FRAME_HEADER_BYTES, CrashBuffer

HALF_BYTES = 64 * 1024


class Dead(BaseException):
    """The process is killed here."""


class Place:
    """A log directory and a shared memory of the test's own; `buffer` is that of the process that lives now."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "w0"
        self.shared_memory = root / "shm"
        self.directory.mkdir()
        self.shared_memory.mkdir()
        self.open("")
        self.buffer.empty_all()

    def open(self, believed: str) -> None:
        self.buffer = CrashBuffer.open(
            self.directory, believed=believed, half_bytes=HALF_BYTES, shared_memory=self.shared_memory
        )

    def die(self) -> list[bytes]:
        """What the next process is given."""
        self.buffer.close(is_done=False)
        self.open(self.buffer.file_id)
        return [kept.payload for kept in self.buffer.survivors()]

    def keep(self, payload: bytes, record_id: UUID | None = None) -> int | None:
        middle = len(payload) // 2
        return self.buffer.keep(record_id or uuid4(), [payload[:middle], b"", payload[middle:]], len(payload))

    @property
    def file(self) -> Path:
        return next(self.shared_memory.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.buffer.close(is_done=True)


def test_what_was_kept_survives_in_order_with_its_id(place: Place) -> None:
    ids = [uuid4() for _ in range(3)]
    for record_id, payload in zip(ids, (b"one", b"", b"three"), strict=True):
        assert place.keep(payload, record_id) is not None
    assert place.die() == [b"one", b"", b"three"]
    assert [kept.record_id for kept in place.buffer.survivors()] == ids
    assert place.die() == [b"one", b"", b"three"], "the next process was killed, too, before it did anything"


def test_both_halves_survive_the_older_one_first(place: Place) -> None:
    for round_ in range(4):  # whichever half is the first in the file
        place.keep(b"in commit %d" % round_)
        place.buffer.swap()
        place.keep(b"new %d" % round_)
        assert place.die() == [b"in commit %d" % round_, b"new %d" % round_]
        place.buffer.empty_all()
        if round_ % 2:
            place.buffer.swap()
            place.buffer.empty()


def test_what_is_settled_does_not_come_back(place: Place) -> None:
    slots = [place.keep(b"%d" % n) for n in range(4)]
    place.buffer.settle([slots[0], None, slots[2]])
    assert place.die() == [b"1", b"3"]


def test_a_half_that_was_emptied_gives_nothing_of_its_former_life(place: Place) -> None:
    for n in range(20):
        place.keep(b"old %d" % n)
    place.buffer.swap()
    place.buffer.empty()
    assert place.die() == []
    place.buffer.empty_all()
    place.keep(b"new 0")  # as long as an old one: the next old frame stands right behind it
    assert place.die() == [b"new 0"]


def test_a_record_whose_copying_was_cut_is_dropped(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def die() -> None:
        raise Dead

    place.keep(b"whole")
    monkeypatch.setitem(crash_points._armed, "capture.copied", die)
    with pytest.raises(Dead):
        place.keep(b"all of it is there but for the header")
    assert place.die() == [b"whole"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(at=st.integers(1, FRAME_HEADER_BYTES - 1), bit=st.integers(0, 7))
def test_a_header_that_is_not_whole_ends_what_is_believed(place: Place, at: int, bit: int) -> None:
    place.buffer.empty_all()
    place.keep(b"first")
    slot = place.keep(b"second")
    assert slot is not None
    with place.file.open("r+b") as file:
        file.seek(slot + at)
        (byte,) = file.read(1)
        file.seek(slot + at)
        file.write(bytes([byte ^ 1 << bit]))
    assert place.die() == [b"first"]


def test_a_full_half_takes_what_still_fits_and_says_so(place: Place) -> None:
    assert place.keep(bytes(HALF_BYTES)) is None
    assert place.keep(bytes(HALF_BYTES // 2)) is not None
    assert place.keep(bytes(HALF_BYTES // 2)) is None
    assert place.keep(b"small") is not None
    assert place.die() == [bytes(HALF_BYTES // 2), b"small"]


def test_a_buffer_that_the_lock_does_not_name_is_not_believed(place: Place) -> None:
    place.keep(b"of another life of this directory")
    file_id = place.buffer.file_id
    place.buffer.close(is_done=False)
    place.open("another")
    assert place.buffer.survivors() == []
    assert place.buffer.file_id == file_id
    assert place.die() == []


def test_a_buffer_of_before_the_last_boot_is_not_believed(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.keep(b"what stands on a disk after a power cut may be any mixture")
    (tmp_path / "boot_id").write_text(str(uuid4()))
    monkeypatch.setattr(crash_buffer, "_BOOT_ID", tmp_path / "boot_id")
    assert place.die() == []


def test_the_file_is_private_and_gone_after_a_clean_end(place: Place) -> None:
    assert place.file.stat().st_mode & 0o777 == 0o600
    assert place.file.name.startswith(f"watchllm-{os.geteuid()}-")
    assert place.file.stat().st_blocks * 512 >= 2 * HALF_BYTES, "a page that is not there yet can be a SIGBUS"
    place.buffer.close(is_done=True)
    assert list(place.shared_memory.iterdir()) == []


def plant_symlink(file: Path) -> None:
    file.with_name("victim").write_text("precious")
    file.symlink_to(file.with_name("victim"))


def plant_open_to_all(file: Path) -> None:
    file.touch()
    file.chmod(0o666)


def plant_second_name(file: Path) -> None:
    file.with_name("other").touch(0o600)
    file.hardlink_to(file.with_name("other"))


@pytest.mark.parametrize("plant", [plant_symlink, plant_open_to_all, plant_second_name, os.mkfifo, os.mkdir])
def test_what_was_planted_in_shared_memory_is_not_touched(place: Place, plant: object) -> None:
    file = place.file
    place.buffer.close(is_done=True)
    plant(file)  # type: ignore[operator]
    place.open("")
    assert place.buffer.path == place.directory / FILE_NAME
    place.buffer.empty_all()
    place.keep(b"kept")
    assert place.die() == [b"kept"]
    victim = file.with_name("victim")
    assert not victim.exists() or victim.read_text() == "precious"


def test_a_buffer_that_another_process_holds_is_left_to_it(place: Place) -> None:
    second = CrashBuffer.open(place.directory, believed="", shared_memory=place.shared_memory)
    assert (place.buffer.path, second.path) == (place.file, place.directory / FILE_NAME)
    second.close(is_done=True)


def test_what_the_dead_left_of_directories_that_are_gone_is_deleted(place: Place, tmp_path: Path) -> None:
    """And nothing else: not what is in use, not what waits for its next process."""
    for name in ("gone", "waiting"):
        (tmp_path / name).mkdir()
        CrashBuffer.open(tmp_path / name, believed="", shared_memory=place.shared_memory).close(is_done=False)
    (tmp_path / "gone").rmdir()
    (place.shared_memory / f"watchllm-{os.geteuid()}-of-somebody").write_text("else")
    place.directory.rename(tmp_path / "renamed")  # its process lives
    before = len(list(place.shared_memory.iterdir()))
    CrashBuffer.open(tmp_path, believed="", shared_memory=place.shared_memory).close(is_done=True)
    assert len(list(place.shared_memory.iterdir())) == before - 1
    place.keep(b"still mine")
    assert [kept.payload for kept in place.buffer.survivors()] == [b"still mine"]


def test_without_any_place_nothing_is_kept_and_nothing_fails(tmp_path: Path) -> None:
    buffer = CrashBuffer.open(tmp_path / "no", believed="", shared_memory=tmp_path / "nor here")
    buffer.empty_all()
    assert (buffer.path, buffer.survivors()) == (None, [])
    assert buffer.keep(uuid4(), [b"x"], 1) is None
    buffer.swap()
    buffer.settle([None])
    buffer.empty()
    buffer.close(is_done=True)
