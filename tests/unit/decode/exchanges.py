"""Exchanges in a line: what a test does not name is plain."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from watchllm_proxy.decode import decode
from watchllm_proxy.records import Body, Call, Exchange, ExchangeEnd, Headers

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"


def as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def stream(*events: Any, name: bool = False, done: bool = False) -> bytes:
    """An event stream of JSON values; `name` adds their type as the event's name."""
    lines = []
    for event in events:
        if name:
            lines.append(f"event: {event['type']}\n")
        lines.append(f"data: {json.dumps(event)}\n\n")
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


def exchange(
    target: str = CHAT,
    request: Any = None,
    answer: Any = b"",
    *,
    status: int | None = 200,
    end: ExchangeEnd = ExchangeEnd.COMPLETE,
    headers: Headers = (),
    response_headers: Headers = (),
    method: str = "POST",
    request_limit: int | None = None,
    answer_limit: int | None = None,
    error_detail: str | None = None,
) -> Exchange:
    sent = as_bytes({"model": "m", "messages": []} if request is None else request)
    got = as_bytes(answer)
    return Exchange(
        exchange_id=UUID(int=1),
        project_id="default",
        method=method,
        target=target,
        request_headers=headers,
        request_body=_body(sent, request_limit),
        status=status,
        response_headers=response_headers,
        response_body=_body(got, answer_limit),
        end=end,
        started_at_us=1_790_000_000_000_000,
        first_byte_us=250,
        duration_us=900,
        client_address="127.0.0.1:40000",
        error_detail=error_detail,
    )


def _body(content: bytes, limit: int | None) -> Body:
    if limit is None:
        return Body(content, len(content))
    return Body(content[:limit], len(content), "ab" * 32)


def decoded(*args: Any, **kwargs: Any) -> Call:
    return decode(exchange(*args, **kwargs))
