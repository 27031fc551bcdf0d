"""What finished runs leave behind: memory and time of the sessionizer after 100,000 calls and a million.

Agents of several projects, many at once: each searches a few times, answers, and is asked once more; some name
their run, some fail and try again, some stop before they answer. Nothing of them is continued later. Rows go
nowhere, as they do once a store has them; the shelf is empty, for nobody asks for an old run.
"""

from __future__ import annotations

import gc
import itertools
import os
import random
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from types import FrameType
from uuid import UUID

from bench.apart import in_a_process_of_its_own
from watchllm_proxy.records import (
    Api,
    Call,
    CallError,
    ClientId,
    ClientIdKind,
    Cost,
    CostSource,
    ExchangeEnd,
    Message,
    Run,
    Step,
    ToolCall,
    ToolResult,
    Usage,
)
from watchllm_proxy.sessionize import Sessionizer

SILENCE_US = 600_000_000
START_US = 1_780_000_000_000_000
BATCH_CALLS = 2_000
COUNTED_CALLS = 500
AT_ONCE = 40
PROJECTS = 4
BETWEEN_CALLS_US = 50_000  # 20 calls a second
WORDS = [f"{onset}{vowel}{coda}" for onset in "bdfgklmnprstvz" for vowel in "aeiou" for coda in "lmnrstx"]
RATE_LIMITED = CallError("rate_limit_error", "Too many requests.")


@dataclass(frozen=True, slots=True)
class Held:
    """After so many calls: resident memory of a process of its own, CPU microseconds of each of the last tenth of
    them, and the functions that the next one enters, which a busy machine does not change."""

    calls: int
    resident_bytes: int
    call_us: float
    functions: float


class EmptyShelf:
    def fetch(self, keys: Sequence[tuple[str, str]]) -> Iterable[tuple[Run, Sequence[Step]]]:
        return ()


@dataclass(frozen=True, slots=True)
class Plan:
    """When to look, in calls, rising. `share`: of the sessionizer's usual limits."""

    counts: tuple[int, ...]
    share: float = 1.0


def measure(plan: Plan) -> list[Held]:
    return in_a_process_of_its_own(observe, plan)


def observe(plan: Plan) -> list[Held]:
    sessionizer = Sessionizer(
        silence_us=SILENCE_US,
        max_runs=int(50_000 * plan.share),
        max_anchors=int(300_000 * plan.share),
        max_texts=int(60_000 * plan.share),
        max_steps=int(50_000 * plan.share),
        shelf=EmptyShelf(),
    )
    calls = traffic()
    held, seen, spent = [], 0, 0.0
    for count in plan.counts:
        lap = max(count // 10, 1)
        while seen < count:
            batch = list(itertools.islice(calls, min(BATCH_CALLS, count - seen, lap)))
            started = time.process_time()
            for call in batch:
                sessionizer.observe(call, call.ended_at_us)
            sessionizer.tick(batch[-1].ended_at_us)
            sessionizer.drain()
            spent = spent + time.process_time() - started if seen + len(batch) > count - lap else 0.0
            seen += len(batch)
        gc.collect()
        held.append(Held(count, _resident_bytes(), spent / lap * 1e6, _functions_entered(sessionizer, calls)))
        seen += COUNTED_CALLS
    return held


def _functions_entered(sessionizer: Sessionizer, calls: Iterator[Call]) -> float:
    """Per call, of Python and of C, over the next `COUNTED_CALLS`: the work that grows if a search does."""
    entered = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal entered
        entered += event in ("call", "c_call")

    batch = list(itertools.islice(calls, COUNTED_CALLS))
    sys.setprofile(count)
    try:
        for call in batch:
            sessionizer.observe(call, call.ended_at_us)
    finally:
        sys.setprofile(None)
    sessionizer.drain()
    return entered / COUNTED_CALLS


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- the agents -----------------------------------------------------------------------------------


def traffic(seed: int = 1) -> Iterator[Call]:
    """Calls without end, as they would stand in the log; the same for the same seed."""
    chance = random.Random(seed)
    numbers = itertools.count()
    agents = [_agent(next(numbers), chance) for _ in range(AT_ONCE)]
    for position in itertools.count():
        place = chance.randrange(AT_ONCE)
        call = next(agents[place], None)
        while call is None:
            agents[place] = _agent(next(numbers), chance)
            call = next(agents[place], None)
        ended_at_us = START_US + position * BETWEEN_CALLS_US
        yield replace(call, started_at_us=ended_at_us - 40_000, ended_at_us=ended_at_us)


def _agent(number: int, chance: random.Random) -> Iterator[Call]:
    project = f"project-{number % PROJECTS}"
    named = (ClientId(ClientIdKind.RUN, f"task-{number}", "x-run-id", 1),) if number % 10 == 0 else ()
    history = [_message("system", "You are a researcher, careful and brief.")]
    for _turn in range(2):
        history.append(_message("user", _text(chance, 12)))
        for search in range(4):
            if number % 20 == 1 and search == 2:
                yield _call(number, project, history, None, named)
            if number % 50 == 2 and search == 3:
                return  # it stops in the middle, and nobody knows why
            asked = ToolCall(f"call_{number}_{len(history)}", "search", f'{{"query": "{_text(chance, 5)}"}}')
            answer = (
                _message("assistant", calls=(asked,)) if search < 3 else _message("assistant", _text(chance, 30))
            )
            yield _call(number, project, history, answer, named)
            history.append(answer)
            if search < 3:
                result = ToolResult(asked.tool_call_id, _text(chance, 40))
                history.append(_message("tool", result.text, results=(result,)))


def _text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, k=words)).capitalize() + "."


def _message(
    role: str, text: str = "", *, calls: tuple[ToolCall, ...] = (), results: tuple[ToolResult, ...] = ()
) -> Message:
    content = repr((role, text, [call.tool_call_id for call in calls])).encode()
    digest = blake2b(content, digest_size=16).digest()
    return Message("messages", role, content, digest, digest, text, calls, results)


def _call(
    number: int, project: str, history: Sequence[Message], answer: Message | None, ids: tuple[ClientId, ...]
) -> Call:
    digest = blake2b(f"{number} {len(history)} {answer is None}".encode(), digest_size=16).digest()
    asked = [call.tool_call_id for message in history for call in message.tool_calls if call.tool_call_id]
    issued = [f"chatcmpl-{digest.hex()}", *(c.tool_call_id for c in (answer.tool_calls if answer else ()))]
    return Call(
        call_id=UUID(bytes=digest),
        project_id=project,
        api=Api.CHAT_COMPLETIONS,
        method="POST",
        target="/v1/chat/completions",
        started_at_us=0,
        ended_at_us=0,
        time_to_first_token_us=None,
        end=ExchangeEnd.COMPLETE,
        http_status=200 if answer else 429,
        client_address=f"10.0.0.{number % 200}:{40_000 + number % 20_000}",
        is_stream=False,
        request_model="gpt-4o-mini",
        response_model="gpt-4o-mini",
        provider_name=None,
        request_skeleton=b'{"rest":{"model":"gpt-4o-mini"},"slots":[]}',
        messages=tuple(history),
        request_hash=blake2b(b"".join(m.link_hash for m in history), digest_size=16).digest(),
        tool_names=("search",),
        mentioned_ids=tuple(asked),
        answer=replace(answer, slot="answer") if answer else None,
        response_id=issued[0],
        issued_ids=tuple(value for value in issued if value) if answer else (),
        finish_reasons=("stop",),
        usage=Usage(900, 40, 940, 0) if answer else Usage(),
        error=None if answer else RATE_LIMITED,
        response_metadata=b"{}",
        client_ids=ids,
        agent_name=None,
        agent_version=None,
        user_id=None,
        user_agent="bench",
        tags=(),
        retry_count_hint=None,
        request_bytes=4_000,
        response_bytes=400,
        cost=Cost(Decimal("0.0002"), CostSource.PRICE_TABLE) if answer else Cost(None, CostSource.UNKNOWN),
    )
