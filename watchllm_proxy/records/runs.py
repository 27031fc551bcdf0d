"""Run, Step, Link, Placement: made by the sessionizer. Flag and Explanation: what of them is worth a look."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from watchllm_proxy.records.frozen import record


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
    UNUSED_TOOLS = "unused_tools"
    CONTRADICTION = "contradiction"


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
    offered_tools: str | None = None  # JSON: estimated tokens by name, where the run offers this list first
    contradiction: str | None = None  # a sentence: how its answer is at odds with what tools gave


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
