"""The event-loop side of the capture log: a bounded buffer, and one group commit at a time behind it.

`append` packs an exchange and copies it to shared memory: from then on the death of the process does not lose it.
Everything that may wait (checksums, writing, syncing) is done by one thread, a group at a time: every ~20 ms,
sooner when a group gets big. From the end of that on a power cut does not lose it either.

At any time: appended = accepted (durable) + shed (by reason) + buffered; after `flush` nothing is buffered.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

from watchllm_proxy.capture import frames
from watchllm_proxy.capture.committer import RESCAN_INTERVAL_S, Commit, Committer, Record
from watchllm_proxy.capture.counts import FILE_NAME, read_log_counts
from watchllm_proxy.capture.crash_buffer import SHARED_MEMORY
from watchllm_proxy.capture.held import HeldExchanges
from watchllm_proxy.capture.payload import pack, pack_report
from watchllm_proxy.capture.spill import (
    Batch,
    FilePart,
    Part,
    Results,
    Spill,
    Spilled,
    Spooler,
    in_memory,
    manifest,
    remove,
    write_all,
)
from watchllm_proxy.errors import CaptureLogError
from watchllm_proxy.outcomes import CaptureCounts, ShedReason
from watchllm_proxy.records import Exchange, Report

logger = logging.getLogger(__name__)

MIB = 1024 * 1024
_GROUP_BYTES = 1 * MIB  # a group this big is not waited for
_RECORD_BYTES = 512  # memory that a record takes beside its bytes, roughly

_Waiter = asyncio.Future[ShedReason | None]
Spills = tuple[Spilled | None, Spilled | None]


class LogWriter:
    """Appends exchanges to one log directory. All methods belong to one event loop's thread.

    max_bytes         size of the log on disk; above it captures are shed until a reader releases segments
    segment_bytes     size of one segment file, the unit that is released
    buffer_bytes      memory for what is not durable yet; above it captures are shed
    group_interval_s  how long a record may wait for others to share its sync
    segment_age_s     a segment with records is ended after this time, so that they can be deleted once read
    shared_memory     directory of a tmpfs, for records that are not durable yet

    Counters: `accepted` are durable, `shed` were given up; `recovered`, among both, were taken and not yet durable
    when the last process was killed; `unprotected` were taken though the crash buffer had no room for them (it
    takes 16 MiB while a sync is under way), so that a kill before their sync would have lost them.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int,
        segment_bytes: int = 64 * MIB,
        buffer_bytes: int = 64 * MIB,
        group_interval_s: float = 0.02,
        segment_age_s: float = 300.0,
        shared_memory: Path = SHARED_MEMORY,
    ) -> None:
        self.accepted = 0
        self.recovered = 0
        self.unprotected = 0
        self.shed: Counter[ShedReason] = Counter()
        self.buffered_bytes = 0
        self._segments_bytes = 0
        self._spooler = Spooler(directory, self._has_disk_for, self._run_spill)
        self._directory = directory
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._buffer_bytes = buffer_bytes
        self._group_interval_s = group_interval_s
        self._segment_age_s = segment_age_s
        self._shared_memory = shared_memory
        self._is_open = False
        self._group: list[Record] = []
        self._group_bytes = 0
        self._group_spills: list[Spilled] = []
        self._waiters: list[tuple[int, _Waiter]] = []  # index in the group, who waits for it
        self._appended = 0
        self._settled = 0
        self._in_flight: asyncio.Future[Commit] | None = None
        self._commit_timer: asyncio.TimerHandle | None = None
        self._seal_timer: asyncio.TimerHandle | None = None
        self._wants_seal = False
        self._has_news = False  # since the commit under way began

    def open(self) -> None:
        """Lock the directory, commit what a killed predecessor left in memory, and start a new segment.

        Blocks; call it once, before serving.

        Raises `AlreadyRunning` when another process writes here, `CaptureLogError` where nobody could. A full
        disk is neither: captures are shed until there is room.
        """
        self._committer = Committer.open(
            self._directory, segment_bytes=self._segment_bytes, shared_memory=self._shared_memory
        )
        self._crash_buffer = self._committer.buffer
        self._held = HeldExchanges(self._crash_buffer)
        self.recovered = len(self._committer.recovered)
        self._count(self._committer.recovered)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="capture-log")
        self._segments_bytes = self._committer.bytes_on_disk
        self._is_open = True

    @property
    def crash_buffer_path(self) -> Path | None:
        """Where records wait for their sync: in shared memory; in the log directory, so that a copy may wait for
        the disk; or nowhere (None), and all are `unprotected`."""
        return self._crash_buffer.path

    @property
    def bytes_on_disk(self) -> int:
        return self._segments_bytes + self._spooler.disk_bytes

    def spill(self, released: Callable[[int], None]) -> Spill:
        """A file for the beginning of one body, for `append` or `discard` when its exchange ends."""
        return self._spooler.new(released)

    def discard(self, *spills: Spilled) -> None:
        """The capture that they belong to was given up."""
        for spill in spills:
            spill.seal()
        if spills and self._is_open:
            removal = functools.partial(remove, [spill.path for spill in spills])
            gone = asyncio.get_running_loop().run_in_executor(self._executor, removal)
            gone.add_done_callback(lambda _: self._spooler.removed(spills))

    def append(self, exchange: Exchange, spills: Spills = (None, None)) -> ShedReason | None:
        """Take an exchange, or say why not. Never blocks, never raises.

        `spills` took the beginnings of the request and response body; the exchange holds what `seal` gave back and
        what came after that.

        Once this returned None a kill of the process does not lose it; some 20 ms later a power cut does not
        either. A disk that turns out full or broken sheds it after this returned None: `shed` counts that.
        """
        reason = self._append(exchange, spills, None)
        self.release(exchange.exchange_id)
        if reason is not None:
            self.discard(*(spill for spill in spills if spill is not None))
        return reason

    def hold(self, exchange: Exchange, spills: Spills = (None, None)) -> None:
        """Let a kill of the process leave this of an exchange, until `append` of its id or `release` comes."""
        payload = _packed(exchange, spills)
        if payload is not None and self._is_open:
            self._held.hold(exchange.exchange_id, payload)

    def release(self, exchange_id: UUID) -> None:
        """What was held is not needed any more: it is in the crash buffer in its last form, or given up."""
        if self._is_open:
            self._held.release(exchange_id)

    def give_up(self, reason: ShedReason) -> ShedReason:
        """Count an exchange that will not be appended."""
        self.shed[reason] += 1
        if self._is_open:
            self._committer.counts.refuse(reason)
            self._write_soon()  # so that others hear of it
        return reason

    def counts_of_all(self) -> CaptureCounts:
        """The totals of this log and those beside it, since they exist. Reads small files."""
        others = sorted(self._directory.parent.glob(f"*/{FILE_NAME}"))
        own = self._committer.counts.now() if self._is_open else read_log_counts(self._directory)
        return sum((read_log_counts(path.parent) for path in others if path.parent != self._directory), own)

    async def append_durable(self, record: Exchange | Report) -> ShedReason | None:
        """Like `append`, but return when the record is on disk (None), or will never be (the reason)."""
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        reason = self._append(record, (None, None), waiter)
        return reason if reason is not None else await waiter

    async def flush(self) -> None:
        """Return when everything appended before is settled: durable, or shed and counted."""
        target = self._appended
        while self._settled < target:
            if self._in_flight is None:
                self._start_commit()
            if self._in_flight is not None:
                await asyncio.wait([self._in_flight])

    async def close(self) -> None:
        """Flush, and give up the directory. Later appends are shed. Harmless when repeated."""
        if not self._is_open:
            return
        self._is_open = False
        if self._seal_timer is not None:
            self._seal_timer.cancel()
        await self.flush()
        if self._commit_timer is not None:
            self._commit_timer.cancel()
        if self._in_flight is not None:
            await asyncio.wait([self._in_flight])
        await asyncio.get_running_loop().run_in_executor(self._executor, self._committer.close)
        self._executor.shutdown(wait=False)

    def _append(self, record: Exchange | Report, spills: Spills, waiter: _Waiter | None) -> ShedReason | None:
        payload = _packed(record, spills)
        if payload is None:
            return self.give_up(ShedReason.INVALID)
        record_id = record.report_id if isinstance(record, Report) else record.exchange_id
        payload_bytes = sum(map(len, payload))
        taken = [spill for spill in spills if spill is not None]
        kept = in_memory(payload)
        described = manifest(payload) if taken else b""
        memory_bytes = (sum(map(len, kept)) if taken else payload_bytes) + _RECORD_BYTES
        reason = self._refusal(payload_bytes, memory_bytes)
        if reason is not None:
            return self.give_up(reason)
        slot = self._crash_buffer.keep(record_id, kept, memory_bytes - _RECORD_BYTES, described)
        if slot is None:
            self.unprotected += 1
            self._committer.counts.unprotect()
        if waiter is not None:
            self._waiters.append((len(self._group), waiter))
        files: tuple[Path, ...] = ()
        if taken:
            files = tuple(spill.path for spill in taken)
            self._group_spills += taken
        self._group.append(Record(record_id, payload, payload_bytes, slot, files))
        self._group_bytes += memory_bytes
        self.buffered_bytes += memory_bytes
        self._appended += 1
        self._write_soon()
        return None

    def _refusal(self, payload_bytes: int, memory_bytes: int) -> ShedReason | None:
        if not self._is_open:
            return ShedReason.IO_ERROR
        if memory_bytes > self._buffer_bytes or payload_bytes > frames.MAX_PAYLOAD_BYTES:
            return ShedReason.TOO_LARGE
        if not self._has_disk_for(payload_bytes + _RECORD_BYTES):
            return ShedReason.LOG_FULL
        if self.buffered_bytes + memory_bytes > self._buffer_bytes:
            return ShedReason.BUFFER_FULL
        return None

    def _has_disk_for(self, size_bytes: int) -> bool:
        if self.bytes_on_disk + self.buffered_bytes + size_bytes <= self._max_bytes:
            return self._is_open
        # Readers may have released segments since the last look, and can release the active one once
        # it is ended. Without this a log that is full would never look again.
        self._seal_within(RESCAN_INTERVAL_S)
        return False

    def _run_spill(self, batches: Sequence[Batch]) -> asyncio.Future[Results]:
        return asyncio.get_running_loop().run_in_executor(self._executor, write_all, batches)

    def _write_soon(self) -> None:
        if self._in_flight is None:
            self._schedule_commit()
        else:
            self._has_news = True

    def _schedule_commit(self) -> None:
        if self._group_bytes >= _GROUP_BYTES:
            self._start_commit()
        elif self._commit_timer is None:
            loop = asyncio.get_running_loop()
            self._commit_timer = loop.call_later(self._group_interval_s, self._start_commit)

    def _start_commit(self) -> None:
        """Hand the group to the thread, unless it is still busy with the last one."""
        if self._commit_timer is not None:
            self._commit_timer.cancel()
            self._commit_timer = None
        if self._in_flight is not None:
            return
        group, self._group = self._group, []
        waiters, self._waiters = self._waiters, []
        group_bytes, self._group_bytes = self._group_bytes, 0
        spills, self._group_spills = self._group_spills, []
        seal, self._wants_seal = self._wants_seal, False
        self._has_news = False
        self._crash_buffer.swap()
        self._held.swapped()
        commit = functools.partial(self._committer.commit, group, seal=seal)
        self._in_flight = asyncio.get_running_loop().run_in_executor(self._executor, commit)
        settle = functools.partial(self._settle, len(group), group_bytes, spills, waiters)
        self._in_flight.add_done_callback(settle)

    def _settle(
        self,
        count: int,
        group_bytes: int,
        spills: Sequence[Spilled],
        waiters: list[tuple[int, _Waiter]],
        done: asyncio.Future[Commit],
    ) -> None:
        self._in_flight = None
        self._spooler.removed(spills)
        outcomes = self._outcomes(count, done)
        self._crash_buffer.empty()
        self._held.emptied()
        self.buffered_bytes -= group_bytes
        self._settled += count
        self._count(outcomes)
        for index, waiter in waiters:
            if not waiter.done():
                waiter.set_result(outcomes[index])
        if self._wants_seal:
            self._start_commit()
        elif self._has_news and (self._is_open or self._group):
            self._schedule_commit()

    def _outcomes(self, count: int, done: asyncio.Future[Commit]) -> list[ShedReason | None]:
        error = done.exception()
        if error is not None:
            _log_bug(count, error)
            return [ShedReason.INVALID] * count
        commit = done.result()
        self._segments_bytes = commit.bytes_on_disk
        if not commit.is_segment_blank:
            self._seal_within(self._segment_age_s)
        return commit.outcomes

    def _count(self, outcomes: Sequence[ShedReason | None]) -> None:
        for outcome, times in Counter(outcomes).items():
            if outcome is None:
                self.accepted += times
            else:
                self.shed[outcome] += times

    def _seal_within(self, delay_s: float) -> None:
        """End the active segment after `delay_s` at the latest."""
        loop = asyncio.get_running_loop()
        if self._seal_timer is not None:
            if self._seal_timer.when() <= loop.time() + delay_s:
                return
            self._seal_timer.cancel()
        self._seal_timer = loop.call_later(delay_s, self._seal) if self._is_open else None

    def _seal(self) -> None:
        self._seal_timer = None
        self._wants_seal = True
        self._start_commit()


def _packed(record: Exchange | Report, spills: Spills) -> list[Part] | None:
    """The payload, or None when the record cannot be written. A bug of ours must not reach the caller's path."""
    try:
        if isinstance(record, Report):
            return pack_report(record)
        request, response = spills
        return pack(record, (_part(request), _part(response)))
    except CaptureLogError as exc:
        logger.error("capture shed: %s", exc)  # a sentence of ours; never content
    except Exception as exc:
        _log_bug(1, exc)
    return None


def _part(spill: Spilled | None) -> FilePart | None:
    return FilePart(spill.path, spill.written_bytes) if spill is not None and spill.written_bytes else None


def _log_bug(count: int, error: BaseException) -> None:
    """The message of an error may hold content; the places it passed do not."""
    places = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%d captures shed: %s\n%s", count, type(error).__name__, places)
