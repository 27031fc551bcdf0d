"""Calls made by hand, as if decode had made them: what the sample runs are told with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from hashlib import blake2b
from uuid import UUID, uuid5

from watchllm_proxy.records import (
    DEFAULT_PROJECT_ID,
    Api,
    Call,
    CallError,
    ClientId,
    ClientIdKind,
    Cost,
    CostSource,
    ExchangeEnd,
    Message,
    ToolCall,
    ToolResult,
    Usage,
)

SAMPLE_NAMESPACE = UUID("5b2f1e0a-43f5-5d0c-9f0b-5a3b1a7e5a11")
START_US = 1_768_471_200_000_000  # 2026-01-15 10:00:00 UTC


class SampleAgent:
    """One agent talking to its model: keeps the conversation, the clock and the ids. All of it is fixed."""

    def __init__(self, run_id: str, agent_name: str, system: str, tools: tuple[str, ...], *, model: str) -> None:
        self._run_id = run_id
        self._agent_name = agent_name
        self._tools = tools
        self._model = model
        self._clock_us = START_US
        self._history = [_message("system", system), _message("", ", ".join(tools), slot="tools")]
        self._asked: tuple[ToolCall, ...] = ()
        self.calls: list[Call] = []

    def user(self, text: str) -> None:
        self._history.append(_message("user", text))

    def asks(
        self, *tools: tuple[str, Mapping[str, object]], took_ms: int, tokens: tuple[int, int], usd: str
    ) -> None:
        count = len(self.calls)
        self._asked = tuple(
            ToolCall(f"call_{self._run_id}_{count}_{n}", name, json.dumps(arguments))
            for n, (name, arguments) in enumerate(tools)
        )
        said = _message("assistant", "", slot="answer", calls=self._asked)
        self._answered(said, took_ms, Usage(*tokens, sum(tokens), 0), usd)

    def results(self, *texts: str, took_ms: int) -> None:
        self._clock_us += took_ms * 1000
        for ask, text in zip(self._asked, texts, strict=True):
            self._history.append(_message("tool", text, results=(ToolResult(ask.tool_call_id, text),)))

    def answers(self, text: str, *, took_ms: int, tokens: tuple[int, int], usd: str, cached: int = 0) -> None:
        said = _message("assistant", text, slot="answer")
        self._answered(said, took_ms, Usage(*tokens, sum(tokens), cached), usd)

    def fails(self, error: CallError, *, status: int, took_ms: int, waits_ms: int) -> None:
        """The call fails; the client waits and will send the same again."""
        self._call(None, error, status=status, took_ms=took_ms, usage=Usage(), usd=None)
        self._clock_us += waits_ms * 1000

    def _answered(self, said: Message, took_ms: int, usage: Usage, usd: str) -> None:
        self._call(said, None, status=200, took_ms=took_ms, usage=usage, usd=usd)
        self._history.append(replace(said, slot="messages"))

    def _call(
        self,
        answer: Message | None,
        error: CallError | None,
        *,
        status: int,
        took_ms: int,
        usage: Usage,
        usd: str | None,
    ) -> None:
        started_us, self._clock_us = self._clock_us, self._clock_us + took_ms * 1000
        asked = answer.tool_calls if answer else ()
        response_id = f"gen-{self._run_id}-{len(self.calls)}" if answer else None
        body = b"".join(message.content_hash for message in self._history)
        results = [result for message in self._history for result in message.tool_results]
        self.calls.append(
            Call(
                call_id=uuid5(SAMPLE_NAMESPACE, f"{self._run_id} {len(self.calls)}"),
                project_id=DEFAULT_PROJECT_ID,
                api=Api.CHAT_COMPLETIONS,
                method="POST",
                target="/v1/chat/completions",
                started_at_us=started_us,
                ended_at_us=self._clock_us,
                time_to_first_token_us=took_ms * 400 if answer else None,
                end=ExchangeEnd.COMPLETE,
                http_status=status,
                client_address="127.0.0.1:50000",
                is_stream=answer is not None,
                request_model=self._model,
                response_model=self._model if answer else None,
                provider_name="OpenAI" if answer else None,
                request_skeleton=b"{}",
                messages=tuple(self._history),
                request_hash=_digest(body),
                tool_names=self._tools,
                mentioned_ids=tuple(r.tool_call_id for r in results if r.tool_call_id),
                answer=answer,
                response_id=response_id,
                issued_ids=tuple(i for i in (response_id, *(ask.tool_call_id for ask in asked)) if i),
                finish_reasons=("tool_calls" if asked else "stop",) if answer else (),
                usage=usage,
                error=error,
                response_metadata=b"{}",
                client_ids=(ClientId(ClientIdKind.RUN, self._run_id, "x-run-id", 1),),
                agent_name=self._agent_name,
                agent_version="v1",
                user_id=None,
                user_agent="watchllm-sample",
                tags=(("sample", "true"),),
                retry_count_hint=None,
                request_bytes=sum(len(message.content) for message in self._history),
                response_bytes=len(answer.content) if answer else 0,
                cost=Cost(Decimal(usd), CostSource.UPSTREAM) if usd else Cost(None, CostSource.UNKNOWN),
            )
        )


def _message(
    role: str,
    text: str,
    *,
    slot: str = "messages",
    calls: tuple[ToolCall, ...] = (),
    results: tuple[ToolResult, ...] = (),
) -> Message:
    ids = [call.tool_call_id for call in calls] + [result.tool_call_id for result in results]
    content = json.dumps({"content": text, "ids": ids, "role": role}, sort_keys=True).encode()
    digest = _digest(content)
    return Message(slot, role, content, digest, digest, text, calls, results)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()
