"""What agents go on with is away for a while: does any client notice, and is everything there afterwards, once?

`watchllm up` in three plights: its core process (recorder and console) stopped with SIGSTOP, on embedded stores;
then, on servers behind wires that can be cut, ClickHouse away and Postgres away. Used by `python -m bench outage`
and, shorter, by tests/e2e/test_outage.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from bench import stores, targets
from bench.apart import in_a_process_of_its_own
from bench.processes import Child, find_child, held_still, memory_mb, running
from bench.questions import Asked, answer_to, ask
from bench.servers import Servers, servers
from watchllm_proxy.accounting import Balance, balances, total
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.postgres import RunStore

DRAIN_LIMIT_S = 120.0
POLL_S = 0.25
WARM_UP, WARM_UP_PER_S = 100, 50


@dataclass(frozen=True, slots=True)
class Plan:
    """Requests at `per_s` for `calm_s`, then on through each outage of `outage_s`. `direct_s`: the model alone."""

    per_s: int
    calm_s: float
    outage_s: float
    direct_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outage:
    """`drain_s`: from the return until everything was stored. Memory is the proxy worker's, resident."""

    what: str
    seconds: float
    asked: Asked
    memory_before_mb: float
    memory_most_mb: float
    drain_s: float

    @property
    def memory_added_mb(self) -> float:
        return self.memory_most_mb - self.memory_before_mb


@dataclass(frozen=True, slots=True)
class Stored:
    """What both stores hold once the product has ended. `lost` and `doubled` name answers.

    `calls`: in ClickHouse, as it reads them. `unreadable`: messages that a call lacks.
    """

    calls: int
    lost: list[str]
    doubled: list[str]
    unreadable: int
    books: Balance


@dataclass(frozen=True, slots=True)
class Outcome:
    """`direct` asked the model itself: what of a time is the machine's and the clients' own."""

    direct: Asked
    calm: Asked
    outages: tuple[Outage, ...]
    sent: int
    stored: Stored


@dataclass(frozen=True, slots=True)
class Demand:
    """What must hold of an outage, beside what was seen."""

    asked: str
    seen: str
    is_met: bool


def demands(found: Outcome) -> list[Demand]:
    """Of all outages of one course: the worst of each. What is added is added to the model asked directly."""
    base_ms = found.direct.percentile_ms(0.99)
    errors = sum(len(each.asked.errors) for each in found.outages)
    added_ms = max(each.asked.percentile_ms(0.99) for each in found.outages) - base_ms
    memory_mb = max(each.memory_added_mb for each in found.outages)
    drain_s = max(each.drain_s for each in found.outages)
    stored, books = found.stored, found.stored.books
    lost, doubled = len(stored.lost), max(len(stored.doubled), stored.calls - found.sent)
    is_whole = (books.accepted, books.stored, stored.unreadable) == (found.sent, found.sent, 0)
    return [
        Demand("no client error", f"{errors}", errors == 0),
        Demand("p99 added < 2 ms", f"{added_ms:+.1f} ms", added_ms < 2),
        Demand("none lost", f"{lost}", lost == 0),
        Demand("none doubled", f"{doubled}", doubled == 0),
        Demand("the product's sum is what was sent", books.in_words(), is_whole),
        Demand("proxy's memory + < 100 MB", f"{memory_mb:+.0f} MB", memory_mb < 100),
        Demand("all stored within 60 s", f"{drain_s:.1f} s", drain_s < 60),
    ]


@dataclass(slots=True)
class Course:
    """A product under questions that are numbered from its start to its end."""

    port: int
    worker: int  # pid of the proxy
    sent: int = 0
    memory_mb: list[float] = field(default_factory=list)

    def ask(self, per_s: int, seconds: float) -> Asked:
        numbers = range(self.sent, self.sent + round(per_s * seconds))
        self.sent = numbers.stop
        self.memory_mb = []
        return ask(self.port, per_s, numbers, meanwhile=self._look)

    def through(self, what: str, away: AbstractContextManager[None], plan: Plan) -> Outage:
        before_mb, _ = memory_mb(self.worker)
        with away:
            asked = self.ask(plan.per_s, plan.outage_s)
        back_s = time.monotonic()
        self.until_stored()
        drain_s = time.monotonic() - back_s
        return Outage(what, plan.outage_s, asked, before_mb, max(self.memory_mb), drain_s)

    def until_stored(self) -> None:
        """Everything that was sent."""
        deadline_s = time.monotonic() + DRAIN_LIMIT_S
        while (stored := self._stored()) < self.sent:
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"after {DRAIN_LIMIT_S:.0f} s {stored} of {self.sent} calls are stored")
            time.sleep(POLL_S)

    def _look(self) -> None:
        self.memory_mb.append(memory_mb(self.worker)[0])

    def _stored(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.search(r"^watchllm_recorder_stored_calls_total (\S+)", text, re.MULTILINE)
        return 0 if found is None else int(float(found[1]))


def recorder_stands_still(plan: Plan) -> Outcome:
    """On the stores that `watchllm up` brings."""
    with tempfile.TemporaryDirectory(prefix="watchllm-bench-") as folder:
        directory = Path(folder)
        with _model(directory) as model, targets.up(directory, model) as product:
            course = _course(product)
            core = find_child(product.pids()[0], "core")
            direct, calm = _before(course, model, plan)
            outage = course.through("recorder and console stopped (SIGSTOP)", held_still(core), plan)
        stored = in_a_process_of_its_own(_look_into_embedded, (directory / "up", course.sent))
    return Outcome(direct, calm, (outage,), course.sent, stored)


def stores_away(plan: Plan) -> Outcome:
    """On servers: ClickHouse is away; once everything is stored, Postgres is."""
    with tempfile.TemporaryDirectory(prefix="watchllm-bench-") as folder:
        directory = Path(folder)
        with _model(directory) as model, servers(directory) as ours:
            with targets.up(directory, model, **ours.settings) as product:
                course = _course(product)
                direct, calm = _before(course, model, plan)
                outages = (
                    course.through("ClickHouse away", ours.clickhouse_away(), plan),
                    course.through("Postgres away", ours.postgres_away(), plan),
                )
            stored = asyncio.run(_look_into_servers(ours, directory / "up", course.sent))
    return Outcome(direct, calm, outages, course.sent, stored)


def _before(course: Course, model: int, plan: Plan) -> tuple[Asked, Asked]:
    """The model alone, and the product while all is well; all of it is stored then."""
    direct = ask(model, plan.per_s, range(round(plan.per_s * plan.direct_s)), meanwhile=lambda: None)
    course.ask(WARM_UP_PER_S, WARM_UP / WARM_UP_PER_S)
    calm = course.ask(plan.per_s, plan.calm_s)
    course.until_stored()
    return direct, calm


def _course(product: targets.Target) -> Course:
    return Course(product.port, find_child(product.pids()[0], "proxy"))


@contextlib.contextmanager
def _model(directory: Path) -> Iterator[int]:
    """Its port."""
    command = [sys.executable, "-m", "bench.questions", "model"]
    child = Child(command, log=directory / "model.log", directory=targets.PROJECT)
    with running(child):
        child.wait_until(lambda: child.printed().endswith("\n"), "naming its port")
        yield int(child.printed())


# --- what was stored --------------------------------------------------------------------------------

_ANSWERS = (
    "SELECT summary, count(*) AS steps FROM agent_debug_steps WHERE type = 'model_response' GROUP BY summary"
)
_CALLS = "SELECT count() AS rows FROM events FINAL"
_LACKING = """
SELECT count() AS rows FROM
(
    SELECT DISTINCT project_id, expires_on,
        arrayJoin(arrayConcat(message_hashes, if(isNull(answer_hash), [], [assumeNotNull(answer_hash)])))
            AS content_hash
    FROM events FINAL
)
WHERE (project_id, expires_on, content_hash) NOT IN (SELECT project_id, expires_on, content_hash FROM messages)
"""


async def _look(owner_dsn: str, runs: RunStore, events: AsyncEventStore, data_dir: Path, sent: int) -> Stored:
    owner = await asyncpg.connect(owner_dsn)
    answers = Counter({row["summary"]: row["steps"] for row in await owner.fetch(_ANSWERS)})
    await owner.close()
    wanted = {answer_to(number) for number in range(sent)}
    (calls,), (lacking,) = await events.query(_CALLS), await events.query(_LACKING)
    return Stored(
        calls=int(str(calls["rows"])),
        lost=sorted(wanted - answers.keys()),
        doubled=sorted(answer for answer, count in answers.items() if count > 1),
        unreadable=int(str(lacking["rows"])),
        books=total((await balances(runs.pool, data_dir / "capture")).values()),
    )


def _look_into_embedded(where: tuple[Path, int]) -> Stored:
    data_dir, sent = where

    async def look() -> Stored:
        async with stores.opened(data_dir) as opened:
            return await _look(opened.postgres.owner_dsn, opened.runs, opened.events, data_dir, sent)

    return asyncio.run(look())


async def _look_into_servers(ours: Servers, data_dir: Path, sent: int) -> Stored:
    events = ours.events()
    runs = await RunStore.open(ours.postgres.dsn)
    try:
        return await _look(ours.postgres.owner_dsn, runs, events, data_dir, sent)
    finally:
        await runs.close()
        await events.close()
