"""CONDUCTOR of everything behind the capture log: log -> decode -> enrich -> sessionize -> flush -> acknowledge.

One batch at a time, and a batch is all or nothing (docs/architecture.md, "Exactly once"):

    1. choose `[start, end)` of every log and note it as pending in Postgres, with the time it is thought at
    2. think: pure functions of the records, the sessionizer's state and that time
    3. insert into ClickHouse under a token made of the bounds: a repeat is dropped there, or looked for
    4. commit runs, steps, links, anchors and the offsets to Postgres in one transaction

A crash before 4 leaves the pending bounds behind: the next start takes the same records at the same time
with the same state, so it makes the same rows under the same tokens.

A batch that cannot be stored, because a store refuses it or a bug of ours meets it, is halved until the one
record that is to blame stands alone. That one is set aside with its bytes; all others are stored. Those that a
person asks to try again (`watchllm dead retry`) are batches of their own, thought about like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog

from watchllm_proxy import crash_points, setting_aside
from watchllm_proxy.capture.merge import MERGE_HOLDBACK_US, Batch, LogSet, MergedRecord
from watchllm_proxy.correcting import Corrector
from watchllm_proxy.cutting import Cutter
from watchllm_proxy.erasing import Eraser
from watchllm_proxy.errors import CaptureLogError, StoreRejected
from watchllm_proxy.histories import histories_of
from watchllm_proxy.inserting import Inserter
from watchllm_proxy.patience import Patience, Stopping
from watchllm_proxy.pricing import Pricing
from watchllm_proxy.recalling import StoredRun, StoredRuns, take_up
from watchllm_proxy.recorder_stats import CLICKHOUSE, POSTGRES, RecorderStats
from watchllm_proxy.records import (
    BatchBounds,
    LogPosition,
    Moved,
    RunChanges,
)
from watchllm_proxy.redacting import Redacting
from watchllm_proxy.reporting import Reporting
from watchllm_proxy.sessionize import Sessionizer, Shelf
from watchllm_proxy.settling import Settler
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.dead_letters import DeadLetters
from watchllm_proxy.store.event_rows import move_params, move_sql, without_run_params
from watchllm_proxy.store.old_runs import RetentionRules
from watchllm_proxy.store.postgres import DeadLetter, RunStore
from watchllm_proxy.store.retention import DEFAULT_DAYS
from watchllm_proxy.suspecting import ENDED_AT_MOST, Suspicion
from watchllm_proxy.thinking import Explanations, Flags, Thinker, Thought

log = structlog.get_logger(__name__)

BATCH_RECORDS = 2_000
BATCH_BYTES = 32 * 1024 * 1024
IDLE_POLL_S = 0.1
TICK_INTERVAL_S = 1.0
CORRECTION_LOOK_INTERVAL_S = 0.5
SETTLED_US = 1_000_000
"""A log that was found empty held nothing then that had ended this long before."""

BLANK_INTERVAL_S = 900.0
"""A log that is idle keeps what is stored of its newest segment for this long; a stop clears it."""

RETRY_LOOK_INTERVAL_S = 1.0
RETRIED_RECORDS = 200

P = ParamSpec("P")
T = TypeVar("T")


class Recorder:
    """Reads the logs from the committed offsets on and stores what they hold, exactly once.

    `run` returns after `stop` is set and what the log held by then is stored, or is left pending when a store
    is away. Nothing is lost either way: what is not stored is still in the log.
    """

    def __init__(
        self,
        logs: LogSet,
        runs: RunStore,
        events: AsyncEventStore,
        *,
        new_sessionizer: Callable[[Shelf], Sessionizer],
        keep_raw_days: int = 0,
        upstream_url: str | None = None,
        retention_days: int = DEFAULT_DAYS,
        redacting: Redacting | None = None,
        suspect_file: Path | None = None,
    ) -> None:
        self.stats = RecorderStats()
        self.at_rest = asyncio.Lock()  # who holds it finds both stores saying the same: no batch is under way
        self._patience = Patience(self.stats, note_lag=self._note_lag)
        self._pricing = Pricing(runs.pool, upstream_url)
        self._thinker = Thinker(self.stats, self._pricing, keep_raw=keep_raw_days > 0, redacting=redacting)
        self._logs = logs
        self._runs = runs
        self._events = events
        self._new_sessionizer = new_sessionizer
        self._redacting = redacting  # None: everything is stored as it was
        self._shelf = StoredRuns(self._load_runs)
        self._sessionizer = new_sessionizer(self._shelf)
        self._offsets: dict[str, LogPosition] = {}
        self._move_sql = move_sql()
        self._suspicion = Suspicion(suspect_file)
        self._cutter = Cutter(runs, self._patience)
        self._inserter = Inserter(events, self._cutter, self._patience, keep_raw_days=keep_raw_days)
        self._settler = Settler(runs, events, self._patience)
        self._reporting = Reporting(runs, self._pricing, self._patience)
        self.rules = RetentionRules(runs.pool, retention_days)
        self._eraser = Eraser(
            runs.pool,
            events,
            logs,
            on_postgres=self._patience.on_postgres,
            on_clickhouse=self._patience.on_clickhouse,
            stored_as=None if redacting is None else redacting.text,
        )
        self._next_erasure_look = 0.0
        self._is_stale = True  # memory is not as the stores are: at first, and when runs are gone from them
        self._next_tick = 0.0
        self._letters = DeadLetters(runs.pool)
        self._next_retry_look = 0.0
        self._next_blanking = time.monotonic() + BLANK_INTERVAL_S
        self._corrector = Corrector(
            runs,
            events,
            patiently=self._patience.until_done,
            insights=self._insights,
            stores=(POSTGRES, CLICKHOUSE),
        )
        self._next_correction_look = 0.0
        self._oldest_us: int | None = None  # when the oldest exchange of the batch under way ended
        self._log_count = 0
        self._newest_us = 0  # when the newest exchange of the last batch ended

    async def take_up(self, stop: asyncio.Event) -> None:
        """The state as of the last commit, for `run`. It needs Postgres alone: ClickHouse may open meanwhile, and
        prices be read while we wait for its answers."""
        self._patience.stop = stop
        reading = asyncio.ensure_future(self._pricing.make_ready())
        try:
            with contextlib.suppress(Stopping):
                await self._forget()
        finally:
            await reading

    async def run(self, stop: asyncio.Event) -> None:
        self._patience.stop = stop
        with contextlib.suppress(Stopping):
            if self._is_stale:
                await self._forget()
            await self._finish_pending()
            self.stats.is_starting = False
            while not stop.is_set():
                if not await self.run_once():
                    await self._patience.rest(IDLE_POLL_S)
            await self._store_the_rest()
            await self._blank_log()

    async def _store_the_rest(self) -> None:
        """What the proxies wrote until now, while they drained; not what others may go on writing."""
        stopped_us = time.time_ns() // 1000
        while True:
            if await self.run_once():
                if self._newest_us > stopped_us:
                    return
            elif self._log_count < 2 or time.time_ns() // 1000 > stopped_us + MERGE_HOLDBACK_US:
                return
            else:
                await asyncio.sleep(IDLE_POLL_S)  # records wait for another log's

    def forget_soon(self) -> None:
        """Runs were deleted that may be in memory: take it up anew before the next batch."""
        self._is_stale = True

    async def run_once(self) -> bool:
        """Store one batch if there is one, else let time pass for open runs. True: there was a batch."""
        async with self.at_rest:
            return await self._take_turn()

    async def _take_turn(self) -> bool:
        now_us = time.time_ns() // 1000
        if self._is_stale:
            await self._forget()
        await self._correct(now_us)
        retried = await self._wanted_again(now_us)
        if retried is not None:
            await self._store(retried)
            return True
        batch = await self._patience.from_log(
            lambda: self._logs.choose(
                self._offsets, now_us, max_records=self._cutter.at_most(BATCH_RECORDS), max_bytes=BATCH_BYTES
            )
        )
        self._log_count = len(batch.bounds.ends)
        self.stats.corrupt_frames += batch.damage.total()
        if not batch.records and batch.bounds.ends == batch.bounds.starts:
            self.stats.lag_s = 0.0
            await self._tick(now_us)
            await self._erase(now_us - SETTLED_US)
            if time.monotonic() > self._next_blanking:
                await self._blank_log()
            return False
        await self._store(batch)
        await self._erase(self._newest_us)
        return True

    async def _erase(self, before_us: int) -> None:
        """Do what was asked to be erased before: all that was captured by then is stored."""
        if time.monotonic() < self._next_erasure_look:
            return
        self._next_erasure_look = time.monotonic() + TICK_INTERVAL_S
        wanted = await self._patience.on_postgres(lambda: self._eraser.wanted(before_us=before_us))
        for erasure in wanted:
            await self._eraser.erase(erasure, self._offsets)
        if wanted:
            await self._forget()

    async def _forget(self) -> None:
        """What is in memory may be gone from the stores: it must not be written back, nor be taken for stored."""
        self._inserter.forget()
        self._thinker.forget()
        await self._patience.on_postgres(self._restore)
        self._is_stale = False

    async def _restore(self) -> None:
        """Take up the state as of the last commit."""
        self._shelf.serve()
        self._sessionizer = self._new_sessionizer(self._shelf)
        self._sessionizer.obey(await self._corrector.said())
        await take_up(self._sessionizer, self._runs)
        self._offsets = await self._runs.offsets()
        await self._cutter.load()

    async def _finish_pending(self) -> None:
        pending = await self._patience.on_postgres(self._runs.take_up_pending)
        if pending is None:
            return
        batch = await self._read_again(pending.bounds)
        log.info("recorder.pending_batch_taken_up", records=len(batch.records), starts=pending.starts)
        part = await self._cutter.part_of(batch, pending.starts)
        crash_points.reach("recorder.after_cut")
        self._inserter.doubt()
        if part is not pending.bounds:
            batch = await self._read_again(part)
        if len(batch.records) == 1:
            ended = self._suspicion.take_up(batch.records[0].record_id)
            if ended >= ENDED_AT_MOST:
                await self._give_up(batch, ended)
                return
        await self._store(batch)

    async def _correct(self, now_us: int) -> None:
        """Carry out what people have asked for. Rows change under the sessionizer, which takes them up anew."""
        if time.monotonic() < self._next_correction_look:
            return
        silence_us = self._sessionizer.silence_us
        if await self._corrector.carry_out_waiting(now_us=now_us, silence_us=silence_us):
            await self._patience.on_postgres(self._restore)
        self._next_correction_look = time.monotonic() + CORRECTION_LOOK_INTERVAL_S

    async def _store(self, batch: Batch) -> None:
        """Think about a batch and flush it; one that cannot be stored is bisected down to its poison record."""
        started = time.monotonic()
        self._oldest_us = min((record.order_us for record in batch.records if record.project_id), default=None)
        await self._patience.on_postgres(lambda: self._runs.begin_batch(batch.bounds))
        crash_points.reach("recorder.after_begin")
        try:
            thought = await self._think(batch)
            await self._flush(batch.bounds, thought)
        except (Stopping, OSError, MemoryError):
            raise  # the batch is not to blame
        except Exception as exc:
            setting_aside.tell_failed(batch, exc)
            await self._patience.on_postgres(self._restore)
            await self._store_apart(batch, exc)
            return
        await self._note_stored(batch, thought, time.monotonic() - started)

    async def _store_apart(self, batch: Batch, exc: Exception) -> None:
        """Halve a batch that cannot be stored; set the record aside that cannot be stored alone."""
        if len(batch.records) > 1:
            for bounds in batch.halves():
                self._inserter.look_first()
                await self._store(await self._read_again(bounds))
            return
        if not batch.records:
            raise exc  # no record is to blame: our bug, and better told than looped over
        record = batch.records[0]
        await self._set_aside(batch, self._thinker.as_kept(setting_aside.given_up(record, exc), record))

    async def _give_up(self, batch: Batch, ended: int) -> None:
        """The one record of a pending batch has ended that many recorders.

        The last one may have ended because it redacted what is to be kept of it: then nothing is.
        """
        record = batch.records[0]
        letter = setting_aside.deadly(record, ended)
        if ended == ENDED_AT_MOST:
            letter = await self._thought(self._thinker.as_kept, letter, record)
        elif self._redacting is not None:
            letter = replace(letter, payload=b"")
        await self._set_aside(batch, letter)

    async def _set_aside(self, batch: Batch, letter: DeadLetter) -> None:
        """In place of the one record of `batch`."""
        await self._leave_without_run(batch.records[0])
        nothing = Thought.of_nothing_but(letter, batch)
        await self._flush(batch.bounds, nothing)
        self._suspicion.clear()
        await self._note_stored(batch, nothing, 0.0)

    async def _leave_without_run(self, record: MergedRecord) -> None:
        """ClickHouse may have its call, from when Postgres refused the batch, with a run that is nowhere.

        The call stays readable and its cost counted; it belongs to no run until `watchllm dead retry` has stored
        it whole (decision 0146). Where there is no such row nothing happens.
        """
        if record.exchange is not None:
            params = without_run_params(record.exchange.project_id, record.record_id)
            await self._patience.on_clickhouse(partial(self._events.execute, self._move_sql, params))

    async def _think(self, batch: Batch) -> Thought:
        """The order of the stages. The work is done in worker threads, so that the console stays responsive."""
        if self._redacting is not None:
            await self._patience.on_postgres(self._redacting.follow_projects)
        await self._patience.on_postgres(self._pricing.follow)
        understood = await self._thought(self._thinker.understand, batch)
        runs_of = await self._settler.runs_of(understood.settlements)
        thought = await self._thought(self._thinker.place, understood, self._sessionizer, runs_of)
        reported = await self._reporting.reported(understood.reports, thought.changes.runs)
        thought = await self._with_insights(thought.with_reported(reported))
        self._suspicion.clear()
        return thought

    async def _thought(self, think: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """In a worker thread. A record that ends the process meanwhile is found to have done so."""
        with self._suspicion.thinking():
            return await asyncio.to_thread(think, *given, **named)

    async def _with_insights(self, thought: Thought) -> Thought:
        try:
            histories = await self._patience.on_postgres(lambda: histories_of(thought.changes, self._runs))
        except (Stopping, OSError, MemoryError):
            raise
        except Exception as exc:  # runs are looked at without it; no call waits behind it
            self.stats.insight_crashes += 1
            log.error("recorder.histories_crashed", error=type(exc).__name__, exc_info=exc)
            histories = {}
        return await self._thought(self._thinker.with_insights, thought, histories)

    async def _insights(self, changes: RunChanges) -> tuple[Flags, Explanations]:
        thought = await self._with_insights(Thought.of_time(changes))
        return thought.flags, thought.explanations

    async def _load_runs(self, keys: Sequence[tuple[str, str]]) -> list[StoredRun]:
        with self._suspicion.waiting():
            return await self._patience.on_postgres(lambda: self._runs.load_runs(keys))

    async def _flush(self, bounds: BatchBounds, thought: Thought) -> None:
        retention = await self._patience.on_postgres(self.rules.current)
        await self._inserter.insert(bounds, thought, retention)
        await self._move(thought.changes.moved)
        await self._settler.write(thought.settlements)
        await self._patience.on_postgres(lambda: self._commit(bounds, thought))
        crash_points.reach("recorder.after_commit")
        self._offsets = {**self._offsets, **bounds.ends}

    async def _move(self, moved: Sequence[Moved]) -> None:
        """Rows of earlier batches whose run was hung elsewhere by what this batch told."""
        for params in move_params(moved):
            await self._patience.on_clickhouse(partial(self._events.execute, self._move_sql, params))

    async def _commit(self, bounds: BatchBounds | None, thought: Thought) -> None:
        await self._runs.commit_batch(
            bounds,
            thought.changes,
            thought.flags,
            thought.explanations,
            thought.dead_letters,
            tallies=thought.tallies,
            spending=thought.spending,
            displaced=thought.displaced,
        )

    async def _tick(self, now_us: int) -> None:
        if time.monotonic() < self._next_tick:
            return
        self._next_tick = time.monotonic() + TICK_INTERVAL_S
        await asyncio.to_thread(self._sessionizer.tick, now_us)
        changes = self._sessionizer.drain()
        if changes.runs:
            thought = await self._with_insights(Thought.of_time(changes))
            try:
                await self._patience.on_postgres(lambda: self._commit(None, thought))
            except StoreRejected as exc:  # the runs stay open in the store; no call waits behind them
                log.error("recorder.ends_rejected", runs=len(changes.runs), error=str(exc))

    async def _wanted_again(self, now_us: int) -> Batch | None:
        """Records set aside that a person asked for. Looked for once a second: the log has its turn between."""
        if time.monotonic() < self._next_retry_look:
            return None
        letters = await self._patience.on_postgres(
            lambda: self._letters.wanted(max_records=RETRIED_RECORDS, max_bytes=BATCH_BYTES)
        )
        self._next_retry_look = time.monotonic() + RETRY_LOOK_INTERVAL_S
        if not letters:
            return None
        log.info("recorder.dead_letters_tried_again", records=len(letters))
        return setting_aside.batch_of(letters, now_us)

    async def _read_again(self, bounds: BatchBounds) -> Batch:
        if not bounds.retried:
            return await self._patience.from_log(partial(self._logs.read_again, bounds))
        letters = await self._patience.on_postgres(lambda: self._letters.kept(bounds.retried))
        return replace(setting_aside.batch_of(letters, bounds.now_us), bounds=bounds)

    async def _note_stored(self, batch: Batch, thought: Thought, took_s: float) -> None:
        stats = self.stats
        stats.batches += 1
        stats.stored_calls += len(thought.calls)
        stats.flush_seconds += took_s
        for letter in thought.dead_letters:
            stats.dead_letters[letter.reason] += 1
        for call, _ in thought.calls:
            stats.note_redacted(call.redacted)
        stats.note_redacted(thought.redacted_in_reports)
        self._newest_us = max((record.order_us for record in batch.records if record.project_id), default=0)
        self._cutter.stored()
        await self._release(batch.bounds.ends)
        await self._note_lag()

    async def _release(self, ends: dict[str, LogPosition]) -> None:
        try:
            await asyncio.to_thread(self._logs.release, ends)
        except CaptureLogError as exc:  # they are stored; the next batch tries again
            log.warning("recorder.log_not_trimmed", error=str(exc))

    async def _blank_log(self) -> None:
        """What is stored redacted does not stay as it was: in the segment that a proxy still appends to."""
        self._next_blanking = time.monotonic() + BLANK_INTERVAL_S
        if self._redacting is None:
            return
        try:
            await asyncio.to_thread(self._logs.blank, self._offsets)
        except CaptureLogError as exc:
            log.warning("recorder.log_not_blanked", error=str(exc))

    async def _note_lag(self) -> None:
        """How far we are behind, as of now: also while a store is away."""
        self.stats.lag_s = 0.0 if self._oldest_us is None else max(0.0, time.time() - self._oldest_us / 1e6)
        with contextlib.suppress(CaptureLogError, OSError):
            self.stats.log_depth_bytes = await asyncio.to_thread(self._logs.depth_bytes, self._offsets)
