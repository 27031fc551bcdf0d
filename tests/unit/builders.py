"""Calls as one expression, for tests of everything behind decode.

    ask = call(user="Where is my order?", answers=tool("order_lookup", {"id": 7}, id="call_1"))
    done = call(after=ask, results={"call_1": "shipped"}, answers="It was shipped today.")

Each call starts a second after the one before it ended; ids are counted, so that a history is the same
each time it is built. `after` repeats the whole history of another call and its answer, as agents do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import blake2b
from typing import Any
from uuid import UUID

from watchllm_proxy.records import (
    DEFAULT_PROJECT_ID,
    Anchor,
    Api,
    Call,
    CallError,
    ClientId,
    ClientIdKind,
    Cost,
    CostSource,
    ExchangeEnd,
    Message,
    Placement,
    Run,
    RunChanges,
    RunOutline,
    Step,
    ToolCall,
    ToolResult,
    Usage,
)
from watchllm_proxy.sessionize import Sessionizer

T0_US = 1_760_000_000_000_000
SECOND_US = 1_000_000

_STRENGTHS = {ClientIdKind.TRACE: 5}


@dataclass(frozen=True)
class Ask:
    """A tool call in an answer."""

    name: str
    arguments: str
    id: str | None


def tool(name: str, arguments: object = None, *, id: str | None = None) -> Ask:
    return Ask(name, arguments if isinstance(arguments, str) else json.dumps(arguments or {}), id)


def message(
    role: str,
    text: str = "",
    *,
    slot: str = "messages",
    calls: Sequence[ToolCall] = (),
    results: Sequence[ToolResult] = (),
) -> Message:
    content = json.dumps(
        [
            role,
            text,
            [(c.tool_call_id, c.name, c.arguments) for c in calls],
            [(r.tool_call_id, r.text) for r in results],
        ]
    ).encode()
    digest = blake2b(content, digest_size=16).digest()
    return Message(slot, role, content, digest, digest, text, tuple(calls), tuple(results))


def client_id(kind: ClientIdKind, value: str, *, source: str = "", strength: int | None = None) -> ClientId:
    return ClientId(kind, value, source or f"x-{kind.value}-id", strength or _STRENGTHS.get(kind, 1))


def ids(**values: str) -> tuple[ClientId, ...]:
    """`ids(run="r1", session="s1")`"""
    return tuple(client_id(ClientIdKind(kind), value) for kind, value in values.items())


class CallBuilder:
    """Counts ids and time, so that two builders make the same calls."""

    def __init__(self, start_us: int = T0_US, *, name: str = "call") -> None:
        self._name = name
        self._count = 0
        self._at_us = start_us
        self._continuations: dict[UUID, tuple[Message, ...]] = {}

    def wait(self, seconds: float) -> None:
        self._at_us += int(seconds * SECOND_US)

    def __call__(
        self,
        *,
        user: str | None = None,
        answers: str | Ask | Sequence[Ask] = "Done.",
        after: Call | None = None,
        results: Mapping[str, str] | Sequence[ToolResult] = (),
        system: str | None = "You are a test agent, careful and brief.",
        tools: Sequence[str] | None = None,
        error: CallError | None = None,
        status: int | None = None,
        end: ExchangeEnd = ExchangeEnd.COMPLETE,
        client_ids: Sequence[ClientId] = (),
        project: str = DEFAULT_PROJECT_ID,
        api: Api = Api.CHAT_COMPLETIONS,
        cost: str | None = "0.001",
        tokens: tuple[int, int] = (100, 20),
        cached: int | None = None,
        took_s: float = 1.0,
        starts_at_us: int | None = None,
        gap_s: float = 1.0,
        client: str = "127.0.0.1:40000",
        response_id: str | None = None,
        agent: str | None = None,
        version: str | None = None,
        tags: Sequence[tuple[str, str]] = (),
        history: Sequence[Message] | None = None,
    ) -> Call:
        self._count += 1
        if starts_at_us is None:
            starts_at_us = self._at_us + int(gap_s * SECOND_US)
        ends_at_us = starts_at_us + int(took_s * SECOND_US)
        self._at_us = max(self._at_us, ends_at_us)

        asks = self._numbered(answers)
        messages = self._messages(user, after, results, system, tools, history)
        answer = None
        if error is None:
            text = answers if isinstance(answers, str) else ""
            answer = message("assistant", text, slot="answer", calls=asks)
        call_id = UUID(bytes=blake2b(f"{self._name} {self._count}".encode(), digest_size=16).digest())
        mentioned = [c.tool_call_id for m in messages for c in m.tool_calls] + [
            r.tool_call_id for m in messages for r in m.tool_results
        ]
        issued = [response_id or f"resp-{self._name}-{self._count}", *(ask.tool_call_id for ask in asks)]
        body = b"|".join(m.content for m in messages)
        call = Call(
            call_id=call_id,
            project_id=project,
            api=api,
            method="POST",
            target="/v1/chat/completions",
            started_at_us=starts_at_us,
            ended_at_us=ends_at_us,
            time_to_first_token_us=None,
            end=end,
            http_status=status or (200 if error is None else 500),
            client_address=client,
            is_stream=False,
            request_model="gpt-test",
            response_model="gpt-test",
            provider_name=None,
            request_skeleton=b"{}",
            messages=messages,
            request_hash=blake2b(body, digest_size=16).digest(),
            tool_names=tuple(tools) if tools is not None else (after.tool_names if after else ()),
            mentioned_ids=tuple(value for value in mentioned if value),
            answer=answer,
            response_id=issued[0],
            issued_ids=tuple(value for value in issued if value) if error is None else (),
            finish_reasons=("tool_calls" if asks else "stop",),
            usage=Usage(*tokens, sum(tokens), cached) if error is None else Usage(),
            error=error,
            response_metadata=b"{}",
            client_ids=tuple(client_ids),
            agent_name=agent,
            agent_version=version,
            user_id=None,
            user_agent="test",
            tags=tuple(tags),
            retry_count_hint=None,
            request_bytes=len(body),
            response_bytes=0,
            cost=Cost(Decimal(cost), CostSource.PRICE_TABLE)
            if cost and error is None
            else Cost(None, CostSource.UNKNOWN),
        )
        said = (replace(answer, slot="messages"),) if answer else ()
        self._continuations[call_id] = (*messages, *said)
        return call

    def again(self, call: Call, **changes: object) -> Call:
        """The same body once more, a second later: what an SDK's retry sends."""
        return self(history=call.messages, **changes)  # type: ignore[arg-type]  # keywords of __call__

    def _numbered(self, answers: str | Ask | Sequence[Ask]) -> tuple[ToolCall, ...]:
        if isinstance(answers, str):
            return ()
        asks = [answers] if isinstance(answers, Ask) else answers
        return tuple(
            ToolCall(ask.id or f"call-{self._name}-{self._count}-{n}", ask.name, ask.arguments)
            for n, ask in enumerate(asks)
        )

    def _messages(
        self,
        user: str | None,
        after: Call | None,
        results: Mapping[str, str] | Sequence[ToolResult],
        system: str | None,
        tools: Sequence[str] | None,
        history: Sequence[Message] | None,
    ) -> tuple[Message, ...]:
        if history is not None:
            return tuple(history)
        past = list(self._continuations[after.call_id]) if after else []
        if after is None:
            past = [message("system", system)] if system is not None else []
            past += [message("", json.dumps(list(tools)), slot="tools")] if tools else []
        if isinstance(results, Mapping):
            results = [ToolResult(asked_id, text) for asked_id, text in results.items()]
        past += [message("tool", result.text, results=(result,)) for result in results]
        if user is not None:
            past.append(message("user", user))
        return tuple(past)


def error(type: str = "server_error", text: str = "The server had an error.") -> CallError:
    return CallError(type, text)


RATE_LIMITED = CallError("rate_limit_error", "Too many requests.")
CLIENT_LEFT = CallError(ExchangeEnd.CLIENT_ABORTED, "The client left.")


def asked_ids(call: Call) -> list[str]:
    """Ids of the tool calls in an answer, to bring results for."""
    assert call.answer is not None
    return [c.tool_call_id for c in call.answer.tool_calls if c.tool_call_id]


def results_for(call: Call, *texts: str) -> dict[str, str]:
    return dict(zip(asked_ids(call), texts, strict=True))


# --- the playbook: calls in, rows expected


SILENCE_US = 600 * SECOND_US


class Rows:
    """What a store would hold after every drain: upserts by natural key."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str], Run] = {}
        self.steps: dict[tuple[str, str], dict[int, Step]] = {}
        self.anchors: dict[tuple[str, str, str], Anchor] = {}
        self.placements: dict[UUID, Placement] = {}
        self.fetches = 0

    def store(self, changes: RunChanges) -> None:
        for run in changes.runs:
            self.runs[run.project_id, run.run_id] = run
        for project_id, run_id, step in changes.steps:
            self.steps.setdefault((project_id, run_id), {})[step.step_index] = step
        for anchor in changes.anchors:
            self.anchors[anchor.project_id, anchor.kind, anchor.value] = anchor
        for placement in changes.placements:
            self.placements[placement.call_id] = placement
        for moved in changes.moved:
            self.placements[moved.call_id] = replace(
                self.placements[moved.call_id],
                run_id=moved.run_id,
                session_id=moved.session_id,
                parent_run_id=moved.parent_run_id,
            )

    def steps_of(self, run: Run) -> tuple[Step, ...]:
        by_index = self.steps[run.project_id, run.run_id]
        return tuple(by_index[index] for index in range(len(by_index)))  # dense, or a KeyError

    def restarted(self, **options: Any) -> Sessionizer:
        """A sessionizer as a process finds it that starts now: it knows what is stored, and nothing else."""
        sessionizer = Sessionizer(**{"silence_us": SILENCE_US, "shelf": self, **options})
        outlines = [
            RunOutline(
                run.project_id, run.run_id, run.session_id, run.status, run.last_activity_at_us, run.is_explicit
            )
            for run in self.runs.values()
        ]
        sessionizer.load(outlines, sorted(self.anchors.values(), key=lambda anchor: anchor.seq))
        return sessionizer

    def fetch(self, keys: Sequence[tuple[str, str]]) -> Iterator[tuple[Run, tuple[Step, ...]]]:
        """As the shelf of a sessionizer."""
        self.fetches += 1
        for key in keys:
            if key in self.runs:
                yield self.runs[key], tuple(self.steps.get(key, {}).values())


class Play:
    """Calls played to a sessionizer, one drain each, and the rows that came of it."""

    def __init__(
        self,
        *calls: Call,
        tick_after_s: float | None = None,
        sessionizer: Sessionizer | None = None,
        rows: Rows | None = None,
    ) -> None:
        self.rows = rows or Rows()
        self.sessionizer = sessionizer or Sessionizer(silence_us=SILENCE_US, shelf=self.rows)
        self._now_us = T0_US
        for call in calls:
            self.observe(call)
        if tick_after_s is not None:
            self.tick(tick_after_s)

    def observe(self, call: Call) -> Placement:
        self._now_us = max(self._now_us, call.ended_at_us)
        placement = self.sessionizer.observe(call, self._now_us)
        self.rows.store(self.sessionizer.drain())
        return placement

    def tick(self, after_s: float) -> None:
        """Time passes after the last call."""
        self.sessionizer.tick(self._now_us + int(after_s * SECOND_US))
        self.rows.store(self.sessionizer.drain())

    def placement(self, call: Call) -> Placement:
        return self.rows.placements[call.call_id]

    def run_of(self, call: Call) -> Run:
        placement = self.placement(call)
        assert placement.run_id is not None
        return self.rows.runs[placement.project_id, placement.run_id]

    def steps_of(self, call: Call) -> tuple[Step, ...]:
        return self.rows.steps_of(self.run_of(call))

    def outline(self, call: Call) -> list[str]:
        """The run as `type` or `type tool`, one a step."""
        return [" ".join(filter(None, (step.type.value, step.tool))) for step in self.steps_of(call)]

    def runs(self) -> list[Run]:
        return sorted(self.rows.runs.values(), key=lambda run: (run.started_at_us, run.run_id))
