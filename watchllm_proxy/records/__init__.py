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

from watchllm_proxy.records.batches import BatchBounds, LogPosition, RunChanges
from watchllm_proxy.records.calls import (
    Api,
    Call,
    CallError,
    ClientId,
    ClientIdKind,
    Message,
    SentCall,
    SentMessage,
    ToolCall,
    ToolResult,
    outlined_call,
)
from watchllm_proxy.records.corrections import CarriedOut, Correction, CorrectionKind
from watchllm_proxy.records.costs import (
    SETTLES_HEADER,
    UNKNOWN_COST,
    Cost,
    CostSource,
    Settlement,
    Usage,
    settlement_id,
)
from watchllm_proxy.records.exchanges import DEFAULT_PROJECT_ID, Body, Exchange, ExchangeEnd, Headers
from watchllm_proxy.records.frozen import record
from watchllm_proxy.records.reports import TOLD_BESIDE, Report, ReportedEvent, ReportKind
from watchllm_proxy.records.runs import (
    Anchor,
    Confidence,
    Explanation,
    Flag,
    FlagKind,
    Link,
    LinkKind,
    Moved,
    Placement,
    Run,
    RunOutline,
    RunStatus,
    Step,
    StepType,
)

__all__ = [
    "DEFAULT_PROJECT_ID",
    "SETTLES_HEADER",
    "TOLD_BESIDE",
    "UNKNOWN_COST",
    "Anchor",
    "Api",
    "BatchBounds",
    "Body",
    "Call",
    "CallError",
    "CarriedOut",
    "ClientId",
    "ClientIdKind",
    "Confidence",
    "Correction",
    "CorrectionKind",
    "Cost",
    "CostSource",
    "Exchange",
    "ExchangeEnd",
    "Explanation",
    "Flag",
    "FlagKind",
    "Headers",
    "Link",
    "LinkKind",
    "LogPosition",
    "Message",
    "Moved",
    "Placement",
    "Report",
    "ReportKind",
    "ReportedEvent",
    "Run",
    "RunChanges",
    "RunOutline",
    "RunStatus",
    "SentCall",
    "SentMessage",
    "Settlement",
    "Step",
    "StepType",
    "ToolCall",
    "ToolResult",
    "Usage",
    "outlined_call",
    "record",
    "settlement_id",
]
