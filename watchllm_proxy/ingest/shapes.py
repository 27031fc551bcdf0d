"""What may be reported, field by field. Fields that stand nowhere here are kept, too: as `context`.

A field that is null, or left out, was not told. Numbers are decimals: what they may be is checked in `reading`.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from watchllm_proxy.records import StepType

MAX_STEPS = 5_000
MAX_EVENTS = 1_000
MAX_ID_CHARACTERS = 200
MAX_STEP_INDEX = 1_000_000
MAX_COUNT = Decimal(10**15)
"""Of tokens or milliseconds: more is a mistake."""

MAX_USD = Decimal(1_000_000)

NOT_TOLD: Any = msgspec.field(default_factory=msgspec.Raw)
"""Of a field that may hold any JSON value: no bytes."""

# Ids and figures are checked in `reading`, and there alone: redacted, an id may be longer than what was sent.
_ID_SCHEMA = {"minLength": 1, "maxLength": MAX_ID_CHARACTERS}
_NUMBER_SCHEMA = {"minimum": 0}
Id = Annotated[str, msgspec.Meta(description="printable characters", extra_json_schema=_ID_SCHEMA)]
Instant = Annotated[datetime, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Count = Annotated[Decimal, msgspec.Meta(description="a whole number", extra_json_schema=_NUMBER_SCHEMA)]
Usd = Annotated[Decimal, msgspec.Meta(description="US dollars, kept exactly", extra_json_schema=_NUMBER_SCHEMA)]
Status = Literal["running", "completed", "failed", "cancelled"]
EventStatus = Literal["success", "error", "timeout", "assertion_failed", "warning"]
Environment = Literal["production", "staging", "development"]
AgentStepType = Literal["reasoning", "tool_call", "validation", "output"]
Tags = list[str]


class Step(msgspec.Struct, kw_only=True):
    """One step of a reported run. `token_cost` is the tokens of its model call, in and out together."""

    step_index: Annotated[int, msgspec.Meta(ge=0, le=MAX_STEP_INDEX)]
    timestamp: Instant
    type: StepType
    summary: str | None = None
    decision: str | None = None
    tool: str | None = None
    tool_args: msgspec.Raw = NOT_TOLD
    tool_output_summary: str | None = None
    token_cost: Count | None = None
    api_cost_usd: Usd | None = None
    cache_hit: bool | None = None
    duration_ms: Count | None = None
    model: str | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    error_type: str | None = None
    error_message: str | None = None
    raw: msgspec.Raw = NOT_TOLD


class Change(msgspec.Struct, kw_only=True):
    """Fields of a run, and steps of it. What is not told stays as it was."""

    run_id: Id | None = None
    project_id: str | None = None
    agent_name: str | None = None
    agent_version: str | None = None
    session_id: Id | None = None
    parent_run_id: Id | None = None
    title: str | None = None
    started_at: Instant | None = None
    ended_at: Instant | None = None
    status: Status | None = None
    total_cost_usd: Usd | None = None
    user_id: str | None = None
    meta: dict[str, msgspec.Raw] | None = None
    steps: list[Step] = []


class Run(Change, kw_only=True):
    """A run, whole or as far as it has come."""

    run_id: Id
    started_at: Instant


class Steps(Change, kw_only=True):
    """Steps that are added to a run, or said anew."""

    steps: Annotated[list[Step], msgspec.Meta(min_length=1)]


class EventType(StrEnum):
    PROMPT_CALL = "prompt_call"
    TOOL_CALL = "tool_call"
    AGENT_STEP = "agent_step"
    ERROR = "error"
    ASSERTION_FAILED = "assertion_failed"
    HALLUCINATION_DETECTED = "hallucination_detected"
    COST_THRESHOLD_EXCEEDED = "cost_threshold_exceeded"
    PERFORMANCE_ALERT = "performance_alert"


class Client(msgspec.Struct, kw_only=True):
    hostname: str | None = None
    sdk_version: str | None = None
    platform: str | None = None


class Problem(msgspec.Struct, kw_only=True):
    message: str | None = None
    type: str | None = None
    code: str | None = None
    stack: str | None = None
    context: msgspec.Raw = NOT_TOLD


class _Event(msgspec.Struct, kw_only=True, tag_field="event_type"):
    """What every event has."""

    event_id: Id
    timestamp: Instant
    project_id: str | None = None
    run_id: Id | None = None
    user_id: str | None = None
    tags: Tags = []
    release: str | None = None
    env: Environment = "production"
    client: Client | None = None
    status: EventStatus | None = None
    latency_ms: Count | None = None
    context: msgspec.Raw = NOT_TOLD


class PromptCall(_Event, kw_only=True, tag=EventType.PROMPT_CALL.value):
    run_id: Id
    model: str
    prompt: msgspec.Raw = NOT_TOLD
    prompt_template_id: str | None = None
    model_version: str | None = None
    tokens_input: Count | None = None
    tokens_output: Count | None = None
    cost_estimate_usd: Usd | None = None
    response: msgspec.Raw = NOT_TOLD
    response_metadata: msgspec.Raw = NOT_TOLD
    tool_calls: list[msgspec.Raw] = []
    error: Problem | str | None = None


class AgentStep(_Event, kw_only=True, tag=EventType.AGENT_STEP.value):
    run_id: Id
    step_number: Annotated[int, msgspec.Meta(ge=0, le=MAX_STEP_INDEX)]
    step_type: AgentStepType
    step_name: str | None = None
    input_data: msgspec.Raw = NOT_TOLD
    output_data: msgspec.Raw = NOT_TOLD
    reasoning: str | None = None
    error: Problem | str | None = None


class ToolCall(_Event, kw_only=True, tag=EventType.TOOL_CALL.value):
    tool: str | None = None
    tool_args: msgspec.Raw = NOT_TOLD
    tool_output: msgspec.Raw = NOT_TOLD
    cost_estimate_usd: Usd | None = None
    error: Problem | str | None = None


class Error(_Event, kw_only=True, tag=EventType.ERROR.value):
    error: Problem


class AssertionFailed(_Event, kw_only=True, tag=EventType.ASSERTION_FAILED.value):
    assertion_name: str | None = None
    assertion_type: str | None = None
    expected: msgspec.Raw = NOT_TOLD
    actual: msgspec.Raw = NOT_TOLD
    message: str | None = None


class HallucinationDetected(_Event, kw_only=True, tag=EventType.HALLUCINATION_DETECTED.value):
    detection_method: str | None = None
    confidence_score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    flagged_content: str | None = None


class CostThresholdExceeded(_Event, kw_only=True, tag=EventType.COST_THRESHOLD_EXCEEDED.value):
    alert_type: str | None = None
    threshold: Decimal | None = None
    actual_value: Decimal | None = None
    window_minutes: Count | None = None


class PerformanceAlert(_Event, kw_only=True, tag=EventType.PERFORMANCE_ALERT.value):
    alert_type: str | None = None
    threshold: Decimal | None = None
    actual_value: Decimal | None = None
    window_minutes: Count | None = None


Event = (
    PromptCall
    | AgentStep
    | ToolCall
    | Error
    | AssertionFailed
    | HallucinationDetected
    | CostThresholdExceeded
    | PerformanceAlert
)

EVENT_CLASSES: dict[EventType, type[Event]] = {
    EventType.PROMPT_CALL: PromptCall,
    EventType.AGENT_STEP: AgentStep,
    EventType.TOOL_CALL: ToolCall,
    EventType.ERROR: Error,
    EventType.ASSERTION_FAILED: AssertionFailed,
    EventType.HALLUCINATION_DETECTED: HallucinationDetected,
    EventType.COST_THRESHOLD_EXCEEDED: CostThresholdExceeded,
    EventType.PERFORMANCE_ALERT: PerformanceAlert,
}
