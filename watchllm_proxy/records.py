"""The vocabulary: frozen records that flow from stage to stage, each owned by the stage that makes it.

    Exchange  (proxy)      one HTTP request and its answer, as bytes
    Report    (ingest)     what somebody tells of runs and events of theirs, as JSON
    Call      (decode)     the same, understood: model, messages, tools, usage, answer
    Placement (sessionize) which run a call belongs to, and why
    Run, Step (sessionize) what the debugger shows
    Flag      (enrich)     something worth a look

Conventions: units end the name. Instants are integer microseconds since the Unix epoch (`_at_us`);
durations come from a monotonic clock. `None` is *not known*; zero is zero. Money is `Decimal` US dollars.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar, dataclass_transform
from uuid import UUID, uuid5

DEFAULT_PROJECT_ID = "default"

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """A frozen dataclass with slots, and frozen by the type checker alone: whoever sets a field fails CI.

    Python's own `frozen=True` sets each field through a call, which makes a record of a few fields take four times
    as long to build, one of forty twelve times; a call of the traffic makes some fifty (decision 0200).
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


# --- Exchange: bytes, as the proxy saw them ---------------------------------------------------------


class ExchangeEnd(StrEnum):
    """How an exchange ended, seen from the proxy. Exactly one applies."""

    COMPLETE = "complete"  # the upstream's answer was read to its end and passed on
    CLIENT_ABORTED = "client_aborted"  # the client left first; bytes so far are kept
    UPSTREAM_UNREACHABLE = "upstream_unreachable"  # no connection; the client got our 502
    UPSTREAM_TIMEOUT = "upstream_timeout"  # no response headers in time; the client got our 504
    UPSTREAM_INVALID = "upstream_invalid"  # unparseable response head; the client got our 502
    UPSTREAM_STALLED = "upstream_stalled"  # silent mid-answer past the idle limit; cut
    UPSTREAM_BROKEN = "upstream_broken"  # connection lost or bad framing mid-answer; cut


Headers = tuple[tuple[str, str], ...]
"""Header fields in the order and case they arrived in, repeats kept, latin-1 decoded."""


@record
class Body:
    """What is kept of one message body.

    `content` holds the body as it was on the wire after transfer decoding (content encoding such as
    gzip still applied). It is cut at the capture limit: then `size_bytes > len(content)`, and
    `sha256` (hex) is that of the whole body. `sha256` is None when the body is whole.

    Of a request that was answered, or given up, before all of it had come, `content` is what came (`is_partial`);
    `size_bytes` is what its Content-Length announced or, where it had none, what came; `sha256` is None.
    """

    content: bytes
    size_bytes: int
    sha256: str | None = None
    is_partial: bool = False

    @property
    def is_truncated(self) -> bool:
        return self.is_partial or self.size_bytes > len(self.content)


@record
class Exchange:
    """One HTTP request and its answer. Credentials are already stripped from headers and target."""

    exchange_id: UUID
    project_id: str
    method: str
    target: str  # origin-form: path and query as sent, e.g. /v1/chat/completions?x=1
    request_headers: Headers  # as received, X-Run-Id and friends included; credentials replaced by "[stripped]"
    request_body: Body
    status: int | None  # None: no response head came (our own 502/504 is told by `end`)
    response_headers: Headers
    response_body: Body
    end: ExchangeEnd
    started_at_us: int  # wall clock when the request head was read
    first_byte_us: int | None  # from start to the first response body byte, monotonic
    duration_us: int  # from start to the end of the exchange, monotonic
    client_address: str  # "ip:port" of the client's connection: same value, same connection
    error_detail: str | None = None  # short text for ends other than COMPLETE; never a body, never a key

    @property
    def ended_at_us(self) -> int:
        return self.started_at_us + self.duration_us


# --- Report: told, not captured ---------------------------------------------------------------------


TOLD_BESIDE = "~reported"
"""Behind the id of a run that was reported under the id of a captured one (decision 0170)."""


class ReportKind(StrEnum):
    """What a report's body is."""

    RUN = "run"  # a JSON object: fields of one run, and steps of it
    EVENTS = "events"  # a JSON array of events


@record
class Report:
    """What a client tells of a run or of events of its own. Its shape was checked before it was taken.

    `body` is UTF-8 JSON with each value as the client spelt it, so that no number is rounded.
    """

    report_id: UUID
    project_id: str
    kind: ReportKind
    run_id: str | None  # of a RUN, as the client gave it; None: each event names its own
    body: bytes
    received_at_us: int  # wall clock when the request head was read
    is_content_refused: bool = False  # figures and ids are kept, but no text

    @property
    def ended_at_us(self) -> int:
        """Its place in time among exchanges."""
        return self.received_at_us


@record
class ReportedEvent:
    """One event that a client told, with what it is searched by. `body` is the event as it was told, JSON."""

    project_id: str
    event_id: str
    event_type: str
    run_id: str | None
    at_us: int
    user_id: str | None
    status: str | None
    model: str | None
    tags: tuple[str, ...]
    release: str | None
    env: str
    latency_ms: int | None
    tokens_input: int | None
    tokens_output: int | None
    cost_usd: Decimal | None
    cost_source: CostSource  # UPSTREAM: as the client told
    body: bytes


# --- Call: an exchange, understood ------------------------------------------------------------------


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
class Usage:
    """Token counts in OpenTelemetry GenAI words. `input_tokens` includes cached ones in every dialect."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    reasoning_tokens: int | None = None
    is_estimated: bool = False  # counted by us, not told by the upstream
    cost_usd: Decimal | None = None  # the upstream's own figure, if it gave one


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


class CostSource(StrEnum):
    UPSTREAM = "upstream"  # told with the answer
    GENERATION = "generation"  # told afterwards, when the upstream was asked for a broken answer's cost
    OVERRIDE = "override"  # the project's own prices
    PRICE_TABLE = "price_table"
    UNKNOWN = "unknown"

    @property
    def is_told(self) -> bool:
        """It is the upstream's figure: no price of ours ever changes it."""
        return self in {CostSource.UPSTREAM, CostSource.GENERATION}


@record
class Cost:
    """What a call cost. `usd` is None where it is not known, and `source` says so."""

    usd: Decimal | None
    source: CostSource
    price_provider: str | None = None  # whose price list
    price_date: str | None = None  # its date or version, ISO


UNKNOWN_COST = Cost(None, CostSource.UNKNOWN)

SETTLES_HEADER = "x-watchllm-settles"
"""Of the captured exchange in which the proxy asked what a broken call cost: which call. Never sent anywhere."""

_SETTLEMENTS = UUID("5b0c8f0e-3a53-5c0e-9d53-2f5d1a3c7c11")


def settlement_id(call_id: UUID) -> UUID:
    """Id of that exchange. Clients' exchanges get random ids: none can pass for it."""
    return uuid5(_SETTLEMENTS, str(call_id))


@record
class Settlement:
    """What the upstream told afterwards of a call whose answer broke. `usage.cost_usd` is there."""

    project_id: str
    call_id: UUID
    usage: Usage

    @property
    def cost(self) -> Cost:
        return Cost(self.usage.cost_usd, CostSource.GENERATION)


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


# --- Run, Step, Link: what the sessionizer makes ----------------------------------------------------


class LinkKind(StrEnum):
    """Kind of evidence, strongest first."""

    EXPLICIT_RUN = "explicit_run"
    EXPLICIT_SESSION = "explicit_session"
    EXPLICIT_AGENT = "explicit_agent"  # a harness's id of one agent inside a session
    EXPLICIT_PARENT = "explicit_parent"
    TRACE = "trace"
    PREVIOUS_RESPONSE = "previous_response"
    CONVERSATION = "conversation"
    ISSUED_ID = "issued_id"
    RETRY = "retry"
    HISTORY = "history"  # the request extends a conversation as it stood after an earlier answer
    TOOL_ARGUMENT = "tool_argument"  # it was given an argument of an open tool call: a sub-agent, or a tool's call
    TOOL_RESULT = "tool_result"  # its answer came back as the result of that tool call
    RETURNED_TEXT = "returned_text"  # what only that thread produced comes back as text
    FORKED_FROM = "forked_from"  # another request extended the same state before
    PERSON = "person"  # somebody said so
    NEW_RUN = "new_run"  # no evidence: this call starts a run


class Confidence(StrEnum):
    CERTAIN = "certain"
    PROBABLE = "probable"


@record
class Link:
    """Why a call belongs to its run. `to_call_id` is the earlier call that the evidence points at."""

    kind: LinkKind
    value: str
    confidence: Confidence
    to_call_id: UUID | None = None
    to_step_index: int | None = None


class StepType(StrEnum):
    USER_INPUT = "user_input"
    DECISION = "decision"  # the model asked for tools
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    MODEL_RESPONSE = "model_response"
    ERROR = "error"
    RETRY = "retry"


class RunStatus(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"  # silence, with tool calls still open


class FlagKind(StrEnum):
    LOOP_DETECTED = "loop_detected"
    REPEATED_TOOL = "repeated_tool"
    HIGH_COST_STEP = "high_cost_step"
    CACHE_MISS_RETRY = "cache_miss_retry"
    TIMEOUT_RETRY = "timeout_retry"
    ERROR_FALLBACK = "error_fallback"
    PROMPT_MUTATION = "prompt_mutation"
    EMPTY_TOOL_OUTPUT = "empty_tool_output"
    PROMPT_CACHE_BREAK = "prompt_cache_break"
    HUGE_TOOL_OUTPUT = "huge_tool_output"
    TRUNCATED_ANSWER = "truncated_answer"
    SLOW_STEP = "slow_step"
    BUDGET_EXCEEDED = "budget_exceeded"


@record
class Flag:
    kind: FlagKind
    message: str  # a sentence for a person
    step_indexes: tuple[int, ...]
    severity: str = "warning"  # info | warning | error


@record
class Explanation:
    """Why a step is as it is, by rule. Every claim names the steps it rests on."""

    step_index: int
    text: str
    confidence: float
    source: str  # "deterministic"
    rules_matched: tuple[str, ...]


@record
class Step:
    """One row of the debugger. `token_cost` of the API is input + output tokens of the step's call."""

    step_index: int
    type: StepType
    started_at_us: int
    duration_us: int | None  # None: not known (a tool call without its result yet)
    is_duration_inferred: bool  # tool time is the gap between two calls
    summary: str
    call_id: UUID | None
    decision: str | None = None
    tool: str | None = None
    tool_call_id: str | None = None
    tool_args: str | None = None  # as generated
    tool_output_summary: str | None = None
    is_tool_error: bool | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cost_usd: Decimal | None = None  # None with a call_id and tokens: unpriced
    is_priced: bool = False  # this step carries its call's cost figures (one step of each call does)
    time_to_first_token_us: int | None = None
    http_status: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    occurrence: str | None = None  # of a user message: the same wherever the same history is sent again
    reported: str | None = None  # what the client told of it, JSON; None: it was captured
    finish_reason: str | None = None  # why the model stopped, in the upstream's word
    output_chars: int | None = None  # of a tool's output, all of it; None: not seen yet, or not to be stored
    prompt_hash: str | None = None  # of a call: "SYSTEM TOOLS", hashes of its system prompt and tools; - : none


@record
class Run:
    """One task of one agent, without its steps. Totals are sums over its steps' priced figures."""

    project_id: str
    run_id: str
    session_id: str
    parent_run_id: str | None
    agent_name: str | None
    agent_version: str | None
    user_id: str | None
    title: str
    status: RunStatus
    started_at_us: int
    ended_at_us: int | None
    last_activity_at_us: int
    is_agent: bool  # uses tools, has several calls, or was named by an explicit id; else a lone chat
    total_steps: int
    total_calls: int
    error_count: int
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    total_cost_usd: Decimal | None  # None: no call of it could be priced; else the sum of the priced ones
    unpriced_calls: int
    tags: tuple[tuple[str, str], ...] = ()
    is_explicit: bool = False  # the client named it, and may name it again
    reported: str | None = None  # what the client told of it, JSON; None: it was captured


@record
class RunOutline:
    """As much of a run as tells whether another call may belong to it."""

    project_id: str
    run_id: str
    session_id: str
    status: RunStatus
    last_activity_at_us: int
    is_explicit: bool


@record
class Anchor:
    """Something a later call may hang on: an id the upstream issued, an explicit id, a failed body's hash."""

    project_id: str
    kind: str  # sessionize.anchors.AnchorKind
    value: str
    run_id: str
    call_id: UUID
    step_index: int | None
    at_us: int
    session_id: str  # of the run: the run itself may be out of memory when the anchor is used
    seq: int = 0  # its place among all anchors that a sessionizer has put, from 1; 0: not put yet


@record
class Placement:
    """Where the sessionizer put one call. `run_id` is None only for Api.OTHER without an explicit id.

    `links` holds the link that decided first; weaker evidence, in agreement or overruled, follows.
    """

    call_id: UUID
    project_id: str
    run_id: str | None
    session_id: str | None
    parent_run_id: str | None
    links: tuple[Link, ...]

    @property
    def is_certain(self) -> bool:
        return bool(self.links) and self.links[0].confidence is Confidence.CERTAIN


@record
class Moved:
    """A call placed earlier whose run has since been hung elsewhere, or which has been moved to another run."""

    call_id: UUID
    project_id: str
    run_id: str
    session_id: str
    parent_run_id: str | None


# --- corrections by a person ------------------------------------------------------------------------


class CorrectionKind(StrEnum):
    SPLIT = "split"  # calls leave their run for one of their own, in a session of its own
    MERGE = "merge"  # all calls of a run join another run
    UNDO = "undo"  # the calls of an earlier correction go back to where it took them from


@record
class Correction:
    """What a person asks for. The console keeps it; the recorder, which alone writes runs, carries it out."""

    correction_id: UUID
    project_id: str
    kind: CorrectionKind
    run_id: str  # whose calls are to go elsewhere
    at_us: int
    call_id: UUID | None = None  # SPLIT: this call and those after it in its run
    is_single: bool = False  # SPLIT: this call and no other
    into_run_id: str | None = None  # MERGE: the run that they join
    undoes: UUID | None = None  # UNDO: the correction that is taken back


@record
class CarriedOut:
    """What a correction came to: its calls belong to `to_run_id` whatever other evidence says, until it is undone
    or a later correction says otherwise."""

    correction: Correction
    call_ids: tuple[UUID, ...]
    to_run_id: str
    to_session_id: str
    to_parent_run_id: str | None
    left_session_id: str  # of the run that they were taken from, as it was then
    left_parent_run_id: str | None
    stay_call_ids: tuple[UUID, ...] = ()  # calls after them that stay in that run, though they may lean on them


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


# --- what a batch writes ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class LogPosition:
    """A place in one capture log: records before it are done. Ordered."""

    segment: int
    offset_bytes: int


@record
class BatchBounds:
    """A batch of the capture logs: `[start, end)` of each log by name, and the time it is thought at.

    Or a batch of records that were set aside and are tried again: then it has no logs, and `retried` names them.
    """

    starts: dict[str, LogPosition]
    ends: dict[str, LogPosition]
    now_us: int
    retried: tuple[UUID, ...] = ()


@record
class RunChanges:
    """What one batch changed, drained from the sessionizer. Rows are upserts by their natural keys."""

    runs: tuple[Run, ...] = ()
    steps: tuple[tuple[str, str, Step], ...] = ()  # (project_id, run_id, step), new or changed
    all_steps: dict[tuple[str, str], tuple[Step, ...]] = field(default_factory=dict)  # of every changed run
    placements: tuple[Placement, ...] = ()  # of calls placed or linked anew
    moved: tuple[Moved, ...] = ()  # calls of earlier batches that belong elsewhere now
    anchors: tuple[Anchor, ...] = ()
