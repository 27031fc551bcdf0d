"""Call: an exchange, understood; one dialect for all APIs. Decoding makes it, enrichment fills in its cost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from watchllm_proxy.records.costs import UNKNOWN_COST, Cost, Usage
from watchllm_proxy.records.exchanges import ExchangeEnd
from watchllm_proxy.records.frozen import record


class Api(StrEnum):
    """Which dialect the request speaks, told by its path."""

    CHAT_COMPLETIONS = "chat_completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"
    MESSAGES = "messages"
    OTHER = "other"  # /v1/models, images, audio, ...: an event, never a run


@record
class ToolCall:
    """A tool call the model asked for. `arguments` is the text as generated (JSON, if it parses)."""

    tool_call_id: str | None
    name: str
    arguments: str


@record
class ToolResult:
    """What the client's tool answered. `text` is its readable content."""

    tool_call_id: str | None
    text: str
    is_error: bool | None = None  # only where the dialect says so (Messages); else None


@record
class Message:
    """One piece of a request or an answer, addressed by the hash of its content.

    slot          where it sits in the body: messages | input | system | instructions | prompt | tools | answer
    role          system | developer | user | assistant | tool | "" (tools schemas, embeddings input)
    content       the JSON value as sent, keys sorted, no white space: rebuilds the request semantically
    content_hash  blake2b-128 of `content`; the key of the `messages` table within a project
    link_hash     blake2b-128 of a normal form that survives what frameworks rewrite (null / "" / missing
                  content, key order, argument re-serialisation): for matching histories, never for storage
    text          all readable text of it, parts joined by newlines
    """

    slot: str
    role: str
    content: bytes
    content_hash: bytes
    link_hash: bytes
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_results: tuple[ToolResult, ...] = ()


@record
class CallError:
    """Why a call failed, in the upstream's words where it had some."""

    type: str  # e.g. rate_limit_error; or the ExchangeEnd value; or "http_503"
    message: str
    code: str | None = None


class ClientIdKind(StrEnum):
    RUN = "run"
    SESSION = "session"
    PARENT_RUN = "parent_run"
    AGENT = "agent"  # an id of a sub-agent inside a session
    PARENT_AGENT = "parent_agent"
    TRACE = "trace"
    CONVERSATION = "conversation"  # Responses: conversation
    PREVIOUS_RESPONSE = "previous_response"  # Responses: previous_response_id


@record
class ClientId:
    """An id that the client sent to say where this call belongs. `strength`: 1 (ours) .. 5 (traceparent)."""

    kind: ClientIdKind
    value: str
    source: str  # the header or body field it was found in, e.g. "x-run-id"
    strength: int


@record
class Call:
    """A decoded exchange: one dialect for all APIs.

    A body that could not be understood still makes a Call: `opaque_reason` says why, `raw_request` and
    `raw_response` keep the bytes, and what could be read (path, status, ids in headers) is filled in.
    """

    call_id: UUID  # the exchange's id
    project_id: str
    api: Api
    method: str
    target: str
    started_at_us: int
    ended_at_us: int
    time_to_first_token_us: int | None
    end: ExchangeEnd
    http_status: int | None
    client_address: str
    is_stream: bool
    request_model: str | None
    response_model: str | None
    provider_name: str | None
    # request
    request_skeleton: bytes  # the body's JSON with the message lists taken out; decode.rebuild puts them back
    messages: tuple[Message, ...]
    request_hash: bytes  # blake2b-128 of the canonical body: equal bodies, equal hash
    tool_names: tuple[str, ...]  # offered, in order
    mentioned_ids: tuple[str, ...]  # ids in the request body that an upstream may have issued, in order
    # answer
    answer: Message | None
    response_id: str | None
    issued_ids: tuple[str, ...]  # response id, item ids, tool call ids: all that a later request may mention
    finish_reasons: tuple[str, ...]
    usage: Usage
    error: CallError | None
    response_metadata: bytes  # JSON object: what the answer held beside choices/output/usage
    # who
    client_ids: tuple[ClientId, ...]
    agent_name: str | None  # only when the client says it (header)
    agent_version: str | None
    user_id: str | None
    user_agent: str | None
    tags: tuple[tuple[str, str], ...]
    retry_count_hint: int | None  # x-stainless-retry-count
    # sizes and what is kept raw
    request_bytes: int
    response_bytes: int
    opaque_reason: str | None = None
    is_truncated: bool = False  # the capture limit cut a body: figures may be missing
    raw_request: bytes | None = None
    raw_response: bytes | None = None
    cost: Cost = UNKNOWN_COST
    is_content_refused: bool = False  # the client asked that figures are kept but no text
    redaction_mode: str = "off"  # how it was redacted: off, secrets or all, and a mark of rules beyond ours
    redacted: tuple[tuple[str, int], ...] = ()  # how many values were put behind tags, by kind

    @property
    def is_failed(self) -> bool:
        """The caller got no usable answer: an error object, a status >= 400, or an answer cut short."""
        return self.error is not None


def outlined_call(
    *,
    call_id: UUID,
    project_id: str,
    api: Api,
    method: str,
    started_at_us: int,
    end: ExchangeEnd,
    http_status: int | None,
    usage: Usage,
    request_model: str | None,
    response_model: str | None = None,
    provider_name: str | None = None,
    response_id: str | None = None,
    response_metadata: bytes = b"",
    cost: Cost = UNKNOWN_COST,
) -> Call:
    """A call as far as its price needs it: no messages, no sizes, no time, nobody who made it."""
    return Call(
        call_id=call_id,
        project_id=project_id,
        api=api,
        method=method,
        target="",
        started_at_us=started_at_us,
        ended_at_us=started_at_us,
        time_to_first_token_us=None,
        end=end,
        http_status=http_status,
        client_address="",
        is_stream=False,
        request_model=request_model,
        response_model=response_model,
        provider_name=provider_name,
        request_skeleton=b"",
        messages=(),
        request_hash=b"",
        tool_names=(),
        mentioned_ids=(),
        answer=None,
        response_id=response_id,
        issued_ids=(),
        finish_reasons=(),
        usage=usage,
        error=None,
        response_metadata=response_metadata,
        client_ids=(),
        agent_name=None,
        agent_version=None,
        user_id=None,
        user_agent=None,
        tags=(),
        retry_count_hint=None,
        request_bytes=0,
        response_bytes=0,
        cost=cost,
    )


# --- what a run's requests sent, for its money ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SentMessage:
    """One message of a request, without its text. `size`: how long it is, what is base64 by the piece: beside
    other messages this tells how many tokens it has."""

    content_hash: str  # hex
    slot: str
    role: str
    size: int
    tool_results: tuple[tuple[str, int], ...] = ()  # tool call ids, and how long each result is


@dataclass(frozen=True, slots=True)
class SentCall:
    """A call of a run and what its request sent. `call` has no messages; the first `kept` ones are those of the
    call before it in the run."""

    call: Call
    kept: int
    new: tuple[SentMessage, ...]
    answer_hash: str | None  # hex; None: no usable answer
