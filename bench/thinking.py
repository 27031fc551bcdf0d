"""What understanding a call costs: CPU time of decode, tokens, prices and sessionize, without logs and stores.

Each traffic is thought through in turns with the others, from an empty state each time, and the least of each
stage counts: CPU time does not see who else wants the processor, but for what they leave in its caches.
"""

from __future__ import annotations

import contextlib
import gc
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import orjson

from bench import conversations
from bench.apart import in_a_process_of_its_own
from bench.conversations import Shape
from watchllm_proxy.decode import KnownMessages, decode
from watchllm_proxy.enrich.prices import price
from watchllm_proxy.enrich.tokens import estimate_usage
from watchllm_proxy.lifecycle import settle_memory
from watchllm_proxy.records import Exchange
from watchllm_proxy.replay import read_corpus
from watchllm_proxy.sessionize import Sessionizer

ROUNDS = 8
BATCH_CALLS = 200
SILENCE_US = 600_000_000
CONVERSATIONS = {conversations.SMALL.name: 100, conversations.LARGE.name: 24}
EQUAL_RUNS, EQUAL_AT_ONCE = 150, 20

CORPORA = Path(__file__).resolve().parents[1] / "tests" / "data"
RECORDED = ("agents/mix_sampled", "traffic/mix", "traffic/openai_long")

STAGES = ("JSON alone", "decode", "tokens", "prices", "sessionize")


@dataclass(frozen=True, slots=True)
class Thinking:
    """CPU microseconds a call, by stage. "JSON alone" is a floor that no stage counts: one pass of orjson over
    request and answer."""

    traffic: str
    calls: int
    mean_bytes: int
    stages_us: dict[str, float]

    @property
    def calls_per_core_s(self) -> float:
        """Of decode and sessionize together."""
        return 1e6 / (self.stages_us["decode"] + self.stages_us["sessionize"])


def measure() -> list[Thinking]:
    return in_a_process_of_its_own(_measure, ROUNDS)


def _measure(rounds: int) -> list[Thinking]:
    traffic = {name: tuple(exchanges) for name, exchanges in _traffic()}
    settle_memory()  # as the recorder's process does
    least: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for name, exchanges in traffic.items():
            spent = _think(exchanges)
            known = least.get(name, spent)
            least[name] = {stage: min(known[stage], spent[stage]) for stage in STAGES}
    return [
        Thinking(name, len(exchanges), _mean_bytes(exchanges), least[name]) for name, exchanges in traffic.items()
    ]


def _traffic() -> Iterator[tuple[str, Iterable[Exchange]]]:
    for shape in (conversations.SMALL, conversations.LARGE):
        yield f"conversations of {shape.name}", conversations.log_of(shape, CONVERSATIONS[shape.name])
    yield "one of them, again and again", _equal_runs(conversations.SMALL)
    for corpus in RECORDED:
        found = read_corpus(CORPORA / f"{corpus}.jsonl.gz")
        yield f"recorded: {corpus}", sorted(found, key=lambda exchange: exchange.ended_at_us)


def _equal_runs(shape: Shape) -> Iterator[Exchange]:
    """One conversation to the letter, the ids of its tool calls too, twenty times at once."""
    one = list(conversations.log_of(shape, 1))
    chance = random.Random(1)
    for first in range(0, EQUAL_RUNS, EQUAL_AT_ONCE):
        for exchange in one:
            for number in range(first, min(first + EQUAL_AT_ONCE, EQUAL_RUNS)):
                yield replace(
                    exchange,
                    exchange_id=UUID(int=chance.getrandbits(128), version=4),
                    started_at_us=exchange.started_at_us + number * 1000 + first * conversations.STEP_US,
                    client_address=f"127.0.0.1:{20_000 + number}",
                )


def _think(exchanges: Sequence[Exchange]) -> dict[str, float]:
    """CPU microseconds by stage, in the recorder's order and by the batch."""
    spent_s = dict.fromkeys(STAGES, 0.0)
    sessionizer, known = Sessionizer(silence_us=SILENCE_US), KnownMessages()
    gc.collect()
    for start in range(0, len(exchanges), BATCH_CALLS):
        batch = exchanges[start : start + BATCH_CALLS]
        clock = [time.process_time()]
        for exchange in batch:
            _parse(exchange)
        clock.append(time.process_time())
        calls = [decode(exchange, known=known) for exchange in batch]
        clock.append(time.process_time())
        calls = [estimate_usage(call) for call in calls]
        clock.append(time.process_time())
        calls = [price(call) for call in calls]
        clock.append(time.process_time())
        for call in calls:
            sessionizer.observe(call, call.ended_at_us)
        sessionizer.drain()
        clock.append(time.process_time())
        for stage, before, after in zip(STAGES, clock, clock[1:], strict=False):
            spent_s[stage] += after - before
    return {stage: seconds / len(exchanges) * 1e6 for stage, seconds in spent_s.items()}


def _parse(exchange: Exchange) -> None:
    for body in (exchange.request_body, exchange.response_body):
        with contextlib.suppress(orjson.JSONDecodeError):  # a stream
            orjson.loads(body.content)


def _mean_bytes(exchanges: Sequence[Exchange]) -> int:
    passed = sum(e.request_body.size_bytes + e.response_body.size_bytes for e in exchanges)
    return passed // len(exchanges)
