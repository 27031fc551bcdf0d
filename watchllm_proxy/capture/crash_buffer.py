"""Records that are not on disk yet, kept where the death of the process does not reach them: shared memory.

    file     header | owner | cells | half | half
    header   magic (8) | version (u16) | 6 zero bytes | file id (16) | boot id (16) | half bytes (u64) | crc (u32)
    owner    mount namespace, line feed, path of the log directory, zero bytes
    cells    one page of numbers (capture.counts)
    half     sequence (u64) | marker (8) | crc (u32) | frames back to back
    frame    is settled (u8) | marker (8) | length of the rest (u32) | of it manifest (u32) | record id (16)
             | crc (u32) | manifest: of a record that lies in files as well (capture.spill) | payload

One half takes new records while the other's are being committed; then they change places. A half is emptied
by giving it a new random marker: what still stands in it is no frame any more, and no captured content can
look like one. Payload first, header last: a frame that a kill cut has no header whose checksum is right.

The promise: a record is kept from the return of `keep` on, whatever happens to the process. It is not kept over
a power cut, nor over the end of a container that has a /dev/shm of its own: for those there is the group's sync.
Only the owner of the directory's lock may open this, and the lock notes its `file_id`: a buffer that another
life of the directory left behind is not believed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import secrets
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from watchllm_proxy import crash_points

MIB = 1024 * 1024
HALF_BYTES = 16 * MIB
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - opened without following links, checked for owner and mode
FILE_NAME = "crash-buffer"
"""In the log directory, where shared memory cannot be used."""

_VERSION = 3
_MAGIC = b"WLCRASHB"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MOUNTS = "/proc/self/ns/mnt"
_CRC = struct.Struct("<I")
_HEADER = struct.Struct("<8sH6x16s16sQ")
_HALF = struct.Struct("<Q8s")
_FRAME = struct.Struct("<8sII16s")

_OWNER_AT = _HEADER.size + _CRC.size
_CELLS_AT = 2 * mmap.PAGESIZE
_HEADER_BYTES = 3 * mmap.PAGESIZE
_HALF_HEADER_BYTES = _HALF.size + _CRC.size
FRAME_HEADER_BYTES = 1 + _FRAME.size + _CRC.size

_OPEN, _SETTLED = b"\0", 1


class Kept(NamedTuple):
    """A record that the last process left. `slot` is for `settle`; without a `manifest` the payload is whole."""

    slot: int
    record_id: UUID
    payload: bytes
    manifest: bytes = b""


class _Half:
    """A range of the file. `free` is where the next frame goes; `marker` is None while nothing here is valid."""

    __slots__ = ("end", "free", "marker", "sequence", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.free = start + _HALF_HEADER_BYTES
        self.sequence = 0
        self.marker = b""


class CrashBuffer:
    """`keep` belongs to the loop's thread, `settle` to the committing one; `swap` and `empty` lie between commits.

    cells     for the counts of the log; `has_survived` tells whether they are a killed process's
    path      the file; None where none could be had: then nothing is kept, and every record counts as unprotected
    file_id   for the lock: who opens next must have been told it to be given `survivors`
    """

    def __init__(self, mapping: mmap.mmap, halves: tuple[_Half, _Half], path: Path | None, file_id: str) -> None:
        self.path = path
        self.file_id = file_id
        self._mapping = mapping
        self._active, self._other = halves
        self.cells = memoryview(mapping)[_CELLS_AT:_HEADER_BYTES].cast("Q")
        self.has_survived = False
        self._sequence = max(half.sequence for half in halves)
        self._fd: int | None = None

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        believed: str,
        half_bytes: int = HALF_BYTES,
        shared_memory: Path = SHARED_MEMORY,
    ) -> CrashBuffer:
        """The buffer of the log in `directory`, in shared memory or else in the directory itself.

        `believed` is the `file_id` of the last writer's buffer. Raises nothing for a place that cannot be used:
        the proxy works without, and `path` tells.
        """
        with suppress(OSError):
            _sweep(shared_memory)
        real_directory = os.path.realpath(directory)
        digest = hashlib.sha256(os.fsencode(real_directory)).hexdigest()[:32]
        for path in (shared_memory / f"{_prefix()}{digest}", directory / FILE_NAME):
            with suppress(OSError):
                return cls._open_file(path, _owner(real_directory), believed, half_bytes)
        return cls(mmap.mmap(-1, _HEADER_BYTES), (_Half(0, 0), _Half(0, 0)), None, "")

    @classmethod
    def _open_file(cls, path: Path, owner: bytes, believed: str, half_bytes: int) -> CrashBuffer:
        fd = _open_private(path)
        try:
            file_id, half_bytes = _adopt(fd) or _create(fd, path, owner, half_bytes)
            mapping = mmap.mmap(fd, _file_bytes(half_bytes))
        except BaseException:
            os.close(fd)
            raise
        middle = _HEADER_BYTES + half_bytes
        halves = _Half(_HEADER_BYTES, middle), _Half(middle, middle + half_bytes)
        is_believed = file_id.hex() == believed
        if is_believed:
            for half in halves:
                _read_half(mapping, half)
        buffer = cls(mapping, halves, path, file_id.hex())
        buffer._fd = fd
        buffer.has_survived = is_believed
        if not is_believed:
            buffer.empty_all()
        return buffer

    def survivors(self) -> list[Kept]:
        """What the last process kept and never settled, in the order it was kept. Call it before any `keep`."""
        halves = sorted((self._active, self._other), key=lambda half: half.sequence)
        return [kept for half in halves for kept in _frames(self._mapping, half)]

    def keep(
        self, record_id: UUID, payload: Sequence[bytes], payload_bytes: int, manifest: bytes = b""
    ) -> int | None:
        """Copy a record; its slot, or None when the half has no room for it (the disk stalls, or it is huge)."""
        half = self._active
        slot = half.free
        at = slot + FRAME_HEADER_BYTES
        end = at + len(manifest) + payload_bytes
        if end > half.end:
            return None
        mapping = self._mapping
        for part in (manifest, *payload) if manifest else payload:
            after = at + len(part)
            mapping[at:after] = part
            at = after
        crash_points.reach("capture.copied")
        header = _FRAME.pack(half.marker, end - slot - FRAME_HEADER_BYTES, len(manifest), record_id.bytes)
        mapping[slot : slot + FRAME_HEADER_BYTES] = _OPEN + header + _CRC.pack(zlib.crc32(header, slot))
        half.free = end
        return slot

    def settle(self, slots: Iterable[int | None]) -> None:
        """These records are in the log, or shed. To be told before the segment after theirs is begun."""
        for slot in slots:
            if slot is not None:
                self._mapping[slot] = _SETTLED  # one byte: done or not done, never half

    def swap(self) -> None:
        """A commit of all that is kept begins; from now on the other half takes, which `empty` must have left."""
        self._active, self._other = self._other, self._active

    def empty(self) -> None:
        """The commit that `swap` began is over."""
        self._empty(self._other)

    def empty_all(self) -> None:
        self._empty(self._active)
        self._empty(self._other)

    def close(self, *, is_done: bool) -> None:
        """Give the file up; with `is_done` nothing of it is needed any more, and it is deleted."""
        self.cells.release()
        if self._fd is None:
            return
        self._mapping.close()
        if is_done and self.path is not None:
            with suppress(OSError):
                self.path.unlink()
        os.close(self._fd)
        self._fd = None

    def _empty(self, half: _Half) -> None:
        self._sequence += 1
        half.sequence = self._sequence
        half.marker = secrets.token_bytes(8)
        half.free = half.start + _HALF_HEADER_BYTES
        if half.end:
            header = _HALF.pack(half.sequence, half.marker)
            self._mapping[half.start : half.free] = header + _CRC.pack(zlib.crc32(header))


def _frames(mapping: mmap.mmap, half: _Half) -> Iterator[Kept]:
    at = half.start + _HALF_HEADER_BYTES
    while half.marker and at + FRAME_HEADER_BYTES <= half.end:
        payload_at = at + FRAME_HEADER_BYTES
        header = mapping[at + 1 : payload_at - _CRC.size]
        (crc,) = _CRC.unpack(mapping[payload_at - _CRC.size : payload_at])
        marker, payload_bytes, manifest_bytes, record_id = _FRAME.unpack(header)
        if marker != half.marker or crc != zlib.crc32(header, at):
            return
        end = payload_at + payload_bytes
        if mapping[at] != _SETTLED:
            content_at = payload_at + manifest_bytes
            kept = mapping[content_at:end], mapping[payload_at:content_at]
            yield Kept(at, UUID(bytes=record_id), *kept)
        at = end


def _read_half(mapping: mmap.mmap, half: _Half) -> None:
    """Take over what the last process left. A header cut by a kill: it was being emptied, all was settled."""
    header = mapping[half.start : half.start + _HALF.size]
    (crc,) = _CRC.unpack(mapping[half.start + _HALF.size : half.start + _HALF_HEADER_BYTES])
    if crc == zlib.crc32(header):
        half.sequence, half.marker = _HALF.unpack(header)


def _open_private(path: Path) -> int:
    """Open or create a file that is ours alone. Raises `OSError` for anything that somebody may have planted."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        # Two containers can share /dev/shm and use the same path for different directories.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found, named = os.fstat(fd), os.stat(path, follow_symlinks=False)
        is_private = found.st_uid == os.geteuid() and not found.st_mode & 0o077 and found.st_nlink == 1
        if not (stat.S_ISREG(found.st_mode) and is_private and os.path.samestat(found, named)):
            raise OSError(errno.EPERM, "not a private file of ours")
    except BaseException:
        os.close(fd)
        raise
    return fd


def _adopt(fd: int) -> tuple[bytes, int] | None:
    """File id and bytes of a half, as the last process chose them; None where this is no buffer of this boot.

    A file on a disk comes out of a power cut with any mixture of old and new pages.
    """
    data = os.pread(fd, _HEADER.size + _CRC.size, 0)
    if len(data) < _HEADER.size + _CRC.size:
        return None
    magic, version, file_id, noted_boot_id, half_bytes = _HEADER.unpack_from(data)
    (crc,) = _CRC.unpack_from(data, _HEADER.size)
    is_ours = magic == _MAGIC and version == _VERSION and crc == zlib.crc32(data[: _HEADER.size])
    if not is_ours or noted_boot_id != _boot_id() or os.fstat(fd).st_size != _file_bytes(half_bytes):
        return None
    return file_id, half_bytes


def _create(fd: int, path: Path, owner: bytes, half_bytes: int) -> tuple[bytes, int]:
    """Every page is allocated now: a file system that is full later would answer a write with SIGBUS."""
    file_id = secrets.token_bytes(16)
    header = _HEADER.pack(_MAGIC, _VERSION, file_id, _boot_id(), half_bytes)
    try:
        os.ftruncate(fd, 0)
        os.posix_fallocate(fd, 0, _file_bytes(half_bytes))
        os.pwrite(fd, owner, _OWNER_AT)
        os.pwrite(fd, header + _CRC.pack(zlib.crc32(header)), 0)
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise
    return file_id, half_bytes


def _sweep(shared_memory: Path) -> None:
    """Delete our buffers of log directories that are gone: a killed process does not, and this is memory."""
    for path in shared_memory.glob(f"{_prefix()}*"):
        with suppress(OSError):
            if _is_left_behind(path):
                os.close(_open_private(path))  # raises for one that is in use
                path.unlink()


def _is_left_behind(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if _adopt(fd) is None:
            return False
        owner = os.pread(fd, _CELLS_AT - _OWNER_AT, _OWNER_AT).rstrip(b"\0")
    finally:
        os.close(fd)
    mounts, _, directory = owner.partition(b"\n")
    # Of another mount namespace's directories we cannot tell: containers may share /dev/shm.
    return mounts == os.fsencode(os.readlink(_MOUNTS)) and not os.path.exists(directory)


def _owner(directory: str) -> bytes:
    return os.fsencode(f"{os.readlink(_MOUNTS)}\n{directory}")[: _CELLS_AT - _OWNER_AT]


def _prefix() -> str:
    return f"watchllm-{os.geteuid()}-"


def _boot_id() -> bytes:
    return UUID(_BOOT_ID.read_text().strip()).bytes


def _file_bytes(half_bytes: int) -> int:
    return _HEADER_BYTES + 2 * half_bytes
