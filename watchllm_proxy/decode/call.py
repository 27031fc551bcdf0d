"""Exchange -> Call: the stage's one entry."""

from __future__ import annotations

from collections.abc import Iterable

from watchllm_proxy.decode.canonical import digest, dump
from watchllm_proxy.decode.dialects import api_of
from watchllm_proxy.decode.errors import error_of_end
from watchllm_proxy.decode.ids import read_client
from watchllm_proxy.decode.known import KnownMessages
from watchllm_proxy.decode.mentions import MAX_ID_CHARACTERS
from watchllm_proxy.decode.reading import Request
from watchllm_proxy.decode.request import read_request
from watchllm_proxy.decode.response import Response, read_response
from watchllm_proxy.records import Api, Call, Exchange


def decode(exchange: Exchange, *, keep_raw: bool = False, known: KnownMessages | None = None) -> Call:
    """Understand an exchange as far as it can be understood. Never raises, never drops one.

    `known` spares the reading of messages that earlier calls held; the result is the same without it.

    What could not be understood is named in `opaque_reason`, the bytes of that side are kept raw, and all
    the rest is filled in. A reason that starts with "internal:" is a bug of ours.
    """
    api = api_of(exchange.method, exchange.target)
    known = known or KnownMessages()
    try:
        request = read_request(api, exchange.target, exchange.request_body, exchange.request_headers, known)
        response = read_response(api, exchange)
        if response.answer.message is not None:
            known.put_answer(api, response.answer.message)
        return _build(exchange, api, request, response, keep_raw)
    except Exception as error:  # the last resort: the exchange is kept, and the reason can be counted
        problem = f"internal: {type(error).__name__}"
        request = Request(request_hash=digest(exchange.request_body.content), problem=problem)
        return _build(exchange, api, request, Response(problem=problem), keep_raw)


def _build(exchange: Exchange, api: Api, request: Request, response: Response, keep_raw: bool) -> Call:
    answer = response.answer
    client = read_client(exchange.request_headers, request.fields)
    finish_reasons = tuple([reason for reason in answer.finish_reasons if reason])
    is_stream = request.is_stream or response.is_stream
    problems = dict.fromkeys([problem for problem in (request.problem, response.problem) if problem])
    return Call(
        call_id=exchange.exchange_id,
        project_id=exchange.project_id,
        api=api,
        method=exchange.method,
        target=exchange.target,
        started_at_us=exchange.started_at_us,
        ended_at_us=exchange.ended_at_us,
        time_to_first_token_us=exchange.first_byte_us if response.is_stream else None,
        end=exchange.end,
        http_status=exchange.status,
        client_address=exchange.client_address,
        is_stream=is_stream,
        request_model=request.model,
        response_model=answer.model,
        provider_name=answer.provider,
        request_skeleton=request.skeleton,
        messages=request.messages,
        request_hash=request.request_hash,
        tool_names=request.tool_names,
        mentioned_ids=request.mentioned_ids,
        answer=answer.message,
        response_id=answer.response_id or _generation_id(exchange),
        issued_ids=distinct_ids(answer.issued_ids),
        finish_reasons=finish_reasons,
        usage=answer.usage,
        error=response.error or error_of_end(exchange, bool(finish_reasons)),
        response_metadata=dump(answer.metadata),
        client_ids=client.ids,
        agent_name=client.agent_name,
        agent_version=client.agent_version,
        user_id=client.user_id,
        user_agent=client.user_agent,
        tags=client.tags,
        retry_count_hint=client.retry_count_hint,
        request_bytes=exchange.request_body.size_bytes,
        response_bytes=exchange.response_body.size_bytes,
        opaque_reason="; ".join(problems) or None,
        is_truncated=exchange.request_body.is_truncated or exchange.response_body.is_truncated,
        raw_request=exchange.request_body.content if keep_raw or request.problem else None,
        raw_response=exchange.response_body.content if keep_raw or response.problem else None,
        is_content_refused=client.is_content_refused,
    )


_LENGTH = len("x-generation-id")


def _generation_id(exchange: Exchange) -> str | None:
    """OpenRouter names a generation before its first byte: the way to ask for the cost of a broken stream."""
    for name, value in exchange.response_headers:
        if len(name) == _LENGTH and name.lower() == "x-generation-id":
            return value
    return None


def distinct_ids(values: Iterable[str | None]) -> tuple[str, ...]:
    """Those that can be ids, each once."""
    return tuple(dict.fromkeys([value for value in values if value and len(value) <= MAX_ID_CHARACTERS]))
