"""API objects as lines of text: the cells of a table of runs, a call as one line. All pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from rich.text import Text

from watchllm_proxy.commands.terminal import Column, clean
from watchllm_proxy.console import formats
from watchllm_proxy.console.labels import outcome_label
from watchllm_proxy.demo.json_access import JsonObject, as_int, as_object, as_text
from watchllm_proxy.records import RunStatus

RUN_COLUMNS = (
    Column("RUN"),
    Column("AGENT"),
    Column("STATUS"),
    Column("STEPS", align_right=True),
    Column("TOOK", align_right=True),
    Column("COST", align_right=True),
    Column("WHEN"),
    Column("FLAGS", align_right=True),
    Column("TITLE"),
)

SHORT_ID = 8
_STATUS_STYLES = {
    "completed": "green",
    "running": "blue",
    "failed": "red",
    "cancelled": "yellow",
    "abandoned": "yellow",
}


def run_cells(run: JsonObject, shown_id: str, now: datetime) -> list[Text]:
    """One row of the table under `RUN_COLUMNS`."""
    flags = as_int(run.get("flags_count")) or 0
    return [
        Text(clean(shown_id)),
        Text(clean(as_text(run.get("agent_name"))) or formats.UNKNOWN),
        outcome_words(run),
        Text(formats.compact(as_int(run.get("total_steps")))),
        Text(formats.duration(microseconds(run.get("duration_ms")))),
        Text(formats.usd(amount(run.get("total_cost_usd")))),
        Text(formats.ago(instant_us(run.get("started_at")), round(now.timestamp() * 1e6))),
        Text(str(flags) if flags else "", style="yellow"),
        Text(clean(as_text(run.get("title")))),
    ]


def outcome_words(run: JsonObject) -> Text:
    """How a run stands, in the words of its page; a status that is not known here as it came."""
    status, errors = as_text(run.get("status")), as_int(run.get("error_count")) or 0
    if status not in set(RunStatus):
        return Text(clean(status))
    is_erred = errors > 0 and status != RunStatus.RUNNING
    style = "yellow" if is_erred and status != RunStatus.FAILED else _STATUS_STYLES[status]
    return Text(outcome_label(RunStatus(status), errors), style=style)


def short_ids(ids: Sequence[str]) -> list[str]:
    """Each id cut to its shortest prefix of at least eight characters that no other one of them has."""
    return [_short_id(run_id, [other for other in ids if other != run_id]) for run_id in ids]


def _short_id(run_id: str, others: Sequence[str]) -> str:
    for length in range(SHORT_ID, len(run_id)):
        prefix = run_id[:length]
        if not any(other.startswith(prefix) for other in others):
            return prefix
    return run_id


def call_line(call: JsonObject, zone: datetime) -> Text:
    """`08:14:27  support-agent  gpt-4.1-mini  200  684 ms  1,804→30  $0.0008  rate_limit_exceeded`.

    Times are in the time zone of `zone`.
    """
    error = as_object(call.get("error"))
    failed = is_failed(call)
    started = datetime.fromtimestamp(instant_us(call.get("started_at")) / 1e6, zone.tzinfo or UTC)
    usage = as_object(call.get("usage"))
    parts = [
        (started.strftime("%H:%M:%S"), "dim"),
        (as_text(call.get("run_id"))[:SHORT_ID], "dim"),
        (as_text(call.get("agent_name")), "cyan"),
        (as_text(call.get("response_model")) or as_text(call.get("request_model")) or _what(call), ""),
        (_status(call), "red" if failed else "green"),
        (formats.duration(microseconds(call.get("duration_ms"))), ""),
        (formats.tokens(as_int(usage.get("input_tokens")), as_int(usage.get("output_tokens"))), ""),
        (formats.usd(amount(call.get("cost_usd"))), ""),
        (_error_words(error), "red"),
    ]
    line = Text()
    for text, style in parts:
        if clean(text):
            line.append("  " if line else "")
            line.append(clean(text), style=style)
    return line


def is_failed(call: JsonObject) -> bool:
    """The caller got no usable answer."""
    status = as_int(call.get("http_status"))
    return bool(call.get("error")) or status is None or status >= 400


def amount(value: object) -> Decimal | None:
    """Money: a number in JSON, or text where somebody wanted to be sure. None is unpriced."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        money = Decimal(str(value))
    except ArithmeticError:
        return None
    return money if money.is_finite() else None


def microseconds(milliseconds: object) -> int | None:
    number = None if isinstance(milliseconds, str) else amount(milliseconds)
    return None if number is None else round(number * 1000)


def instant_us(value: object) -> int:
    """An RFC 3339 time as microseconds since the epoch; 0 when it is none."""
    try:
        return round(datetime.fromisoformat(as_text(value)).timestamp() * 1e6)
    except ValueError:
        return 0


def _what(call: JsonObject) -> str:
    return f"{as_text(call.get('method'))} {as_text(call.get('target'))}"


def _status(call: JsonObject) -> str:
    status = as_int(call.get("http_status"))
    return str(status) if status is not None else as_text(call.get("end")) or "no answer"


def _error_words(error: JsonObject) -> str:
    return ": ".join(word for word in (as_text(error.get("type")), as_text(error.get("message"))) if word)
