"""How fast the recorder is: exchanges a second and core, and where the time goes.

The real recorder over a capture log that the real writer wrote, into real embedded stores. The rate counts
all CPU that recording takes: the process, ClickHouse's threads in it, and Postgres.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import conversations, stores
from bench.apart import in_a_process_of_its_own
from bench.conversations import Shape
from bench.stores import Stores
from watchllm_proxy.capture.merge import LogSet
from watchllm_proxy.decode import KnownMessages, decode
from watchllm_proxy.enrich.flags import find_flags
from watchllm_proxy.enrich.prices import price
from watchllm_proxy.enrich.tokens import estimate_usage
from watchllm_proxy.insights.explain import explain
from watchllm_proxy.recorder import BATCH_BYTES, BATCH_RECORDS
from watchllm_proxy.records import Call, Exchange, Placement
from watchllm_proxy.sessionize import Sessionizer
from watchllm_proxy.store.event_rows import RecentMessages, event_inserts

CONVERSATIONS = {conversations.SMALL.name: 500, conversations.LARGE.name: 50}


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one shape. `mean_bytes` is the size of a request and its answer."""

    shape: str
    exchanges: int
    mean_bytes: int
    per_core_s: float
    per_wall_s: float
    cpu_us: float
    postgres_us: float


@dataclass(slots=True)
class Breakdown:
    """CPU microseconds an exchange, by stage; of ClickHouse with its own threads, of Postgres with the server."""

    shape: str
    stages: dict[str, float] = field(default_factory=dict)


def measure(shape: Shape) -> tuple[Rate, Breakdown]:
    return in_a_process_of_its_own(_rate, shape), in_a_process_of_its_own(_breakdown, shape)


def _rate(shape: Shape) -> Rate:
    return asyncio.run(_record(shape))


def _breakdown(shape: Shape) -> Breakdown:
    return asyncio.run(_by_stage(shape))


async def _record(shape: Shape) -> Rate:
    with tempfile.TemporaryDirectory(prefix="watchllm-bench-") as folder:
        logs = Path(folder) / "capture"
        count, passed_bytes = await _write(logs, shape)
        async with stores.opened(Path(folder)) as opened:
            recorder = stores.recorder(logs, opened)
            cpu, postgres, wall = time.process_time(), opened.postgres_cpu_ns(), time.monotonic()
            while await recorder.run_once():
                pass
            cpu_s, wall_s = time.process_time() - cpu, time.monotonic() - wall
            postgres_s = (opened.postgres_cpu_ns() - postgres) / 1e9
            if recorder.stats.stored_calls != count:
                raise RuntimeError(f"{count} exchanges written, {recorder.stats.stored_calls} stored")
    return Rate(
        shape=shape.name,
        exchanges=count,
        mean_bytes=passed_bytes // count,
        per_core_s=count / (cpu_s + postgres_s),
        per_wall_s=count / wall_s,
        cpu_us=cpu_s / count * 1e6,
        postgres_us=postgres_s / count * 1e6,
    )


async def _by_stage(shape: Shape) -> Breakdown:
    """The recorder's own order of the stages, each with a clock around it."""
    with tempfile.TemporaryDirectory(prefix="watchllm-bench-") as folder:
        logs = Path(folder) / "capture"
        count, _ = await _write(logs, shape)
        async with stores.opened(Path(folder)) as opened:
            spent = await _stages(LogSet(logs), opened)
    return Breakdown(shape.name, {stage: spent_s / count * 1e6 for stage, spent_s in spent.items()})


async def _stages(logs: LogSet, opened: Stores) -> dict[str, float]:
    clock = _Clock(opened)
    sessionizer = Sessionizer(silence_us=stores.SILENCE_US)
    recent, known = RecentMessages(), KnownMessages()
    redacting = stores.redacting(opened)
    await redacting.follow_projects()
    offsets = await opened.runs.offsets()
    while True:
        now_us = time.time_ns() // 1000
        with clock.around("read the log"):
            batch = logs.choose(offsets, now_us, max_records=BATCH_RECORDS, max_bytes=BATCH_BYTES)
        if not batch.records:
            return clock.spent_s
        with clock.around("decode"):
            calls = [
                decode(record.exchange, known=known) for record in batch.records if record.exchange is not None
            ]
        with clock.around("tokens"):
            calls = [estimate_usage(call) for call in calls]
        with clock.around("prices"):
            calls = [price(call) for call in calls]
        with clock.around("redact"):
            calls = [redacting.call(call) for call in calls]
        with clock.around("sessionize"):
            placed: list[tuple[Call, Placement]] = [(call, sessionizer.observe(call, now_us)) for call in calls]
            sessionizer.tick(now_us)
            changes = sessionizer.drain()
        with clock.around("flags and explanations"):
            steps = changes.all_steps
            keys = {(run.project_id, run.run_id): run for run in changes.runs}
            flags = {key: find_flags(run, steps[key]) for key, run in keys.items()}
            explanations = {key: explain(run, steps[key], flags[key]) for key, run in keys.items()}
        with clock.around("begin the batch"):
            await opened.runs.begin_batch(batch.bounds)
        with clock.around("rows"):
            inserts = event_inserts(placed, batch.bounds, keep_raw_days=0, recent=recent)
        with clock.around("insert into ClickHouse"):
            for insert in inserts:
                await opened.events.insert(*insert)
        recent.remember(inserts)
        with clock.around("commit to Postgres"):
            await opened.runs.commit_batch(batch.bounds, changes, flags, explanations)
        with clock.around("release the log"):
            logs.release(batch.bounds.ends)
        offsets = {**offsets, **batch.bounds.ends}


class _Clock:
    """CPU seconds by stage, this process and Postgres together."""

    def __init__(self, opened: Stores) -> None:
        self._opened = opened
        self.spent_s: dict[str, float] = {}

    @contextmanager
    def around(self, stage: str) -> Iterator[None]:
        before = self._now_s()
        yield
        self.spent_s[stage] = self.spent_s.get(stage, 0.0) + self._now_s() - before

    def _now_s(self) -> float:
        return time.process_time() + self._opened.postgres_cpu_ns() / 1e9


async def _write(logs: Path, shape: Shape) -> tuple[int, int]:
    """How many exchanges, and the bytes of their bodies."""
    count = passed_bytes = 0

    def counted() -> Iterator[Exchange]:
        nonlocal count, passed_bytes
        for exchange in conversations.log_of(shape, CONVERSATIONS[shape.name]):
            count += 1
            passed_bytes += exchange.request_body.size_bytes + exchange.response_body.size_bytes
            yield exchange

    await stores.write_log(logs, counted())
    return count, passed_bytes
