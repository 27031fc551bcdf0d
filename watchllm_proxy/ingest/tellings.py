"""A report that was kept -> what it tells, as it may be stored: of a run, or events.

Bodies are split into fields and put together again without being read: a number stays as it was spelt. Fields that
say when, which kind and how much are not searched for personal data, for a count of tokens may look like a card.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field

import msgspec

from watchllm_proxy.records import Report, ReportKind, record

Redact = Callable[[bytes], tuple[bytes, Sequence[tuple[str, int]]]]
"""A JSON document as it may be stored, the same bytes where nothing was found; and what was taken out, by kind."""

Counts = dict[str, int]
"""How many values were put behind tags, by kind."""

Fields = dict[str, bytes]
"""A JSON object as its fields, each as JSON."""


@record
class Kept:
    """A JSON object as it may be stored, and what was taken out of it."""

    fields: Fields
    redacted: Counts = field(default_factory=dict)


_FIGURES = frozenset(
    {
        "timestamp", "started_at", "ended_at", "type", "status", "event_type", "step_type", "env",
        "step_index", "step_number", "token_cost", "api_cost_usd", "total_cost_usd", "cache_hit", "duration_ms",
        "latency_ms", "input_tokens", "output_tokens", "tokens_input", "tokens_output", "cost_estimate_usd",
        "confidence_score", "threshold", "actual_value", "window_minutes",
    }
)  # fmt: skip

_WITHOUT_CONTENT = _FIGURES | {
    "event_id", "run_id", "project_id", "session_id", "parent_run_id", "user_id", "agent_name", "agent_version",
    "tool", "model", "model_version", "release", "tags", "step_name", "alert_type", "error_type",
}  # fmt: skip
"""What is kept of somebody who wants figures and ids kept, but no text."""


@record
class RunTelling:
    """What one report tells of one run: fields of it, what was taken out of each, and steps by their index."""

    run_id: str
    at_us: int  # when it was taken
    fields: Fields = field(default_factory=dict)
    redacted: dict[str, Counts] = field(default_factory=dict)
    steps: dict[int, Kept] = field(default_factory=dict)

    def counts(self) -> Iterator[Counts]:
        """All of it, in parts."""
        yield from self.redacted.values()
        yield from (step.redacted for step in self.steps.values())


@record
class EventTelling:
    """One event. `event_id` is unique in its project; `run_id` None: it names no run."""

    event_id: str
    event_type: str
    run_id: str | None
    at_us: int
    fields: Fields
    redacted: Counts = field(default_factory=dict)

    def counts(self) -> Iterator[Counts]:
        yield self.redacted


Telling = RunTelling | EventTelling


class _Step(msgspec.Struct):
    step_index: int


class _Ids(msgspec.Struct):
    event_id: str
    event_type: str
    run_id: str | None = None


_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_STEP = msgspec.json.Decoder(_Step)
_IDS = msgspec.json.Decoder(_Ids)


def tellings(report: Report, redact: Redact) -> list[Telling]:
    """In the order of the body. Raises for a body that `reading` did not make."""
    body = unescaped(report.body)
    if report.kind is ReportKind.EVENTS:
        return [_event(bytes(raw), report, redact) for raw in _ARRAY.decode(body)]
    told = fields_of(body)
    steps = _ARRAY.decode(told.pop("steps", b"[]"))
    for name in ("run_id", "project_id"):
        told.pop(name, None)
    run_id, of_run_id = _redacted_text(report.run_id or "", redact)
    kept = [_kept({name: raw}, report, redact) for name, raw in told.items()]
    counts = {"run_id": of_run_id} | {name: each.redacted for each in kept for name in each.fields}
    return [
        RunTelling(
            run_id=run_id,
            at_us=report.received_at_us,
            fields={name: raw for each in kept for name, raw in each.fields.items()},
            redacted={name: found for name, found in counts.items() if found},
            steps={_STEP.decode(raw).step_index: _kept(fields_of(raw), report, redact) for raw in steps},
        )
    ]


_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})(?:\\u([dD][c-fC-F][0-9a-fA-F]{2}))?|.)", re.DOTALL)


def unescaped(document: bytes) -> bytes:
    """The same JSON with letters in place of the escapes that programs like to write: so they can be searched for.
    What JSON must escape stays escaped."""
    if b"\\u" not in document:
        return document
    return _ESCAPE.sub(_letter, document)


def _letter(escape: re.Match[bytes]) -> bytes:
    if escape[1] is None or int(escape[1], 16) < 0x80:
        return escape[0]
    return str(msgspec.json.decode(b'"' + escape[0] + b'"')).encode()


def fields_of(document: bytes | msgspec.Raw) -> Fields:
    """The fields of a JSON object that were told: null is not told."""
    found = {name: bytes(raw) for name, raw in _OBJECT.decode(document).items()}
    return {name: raw for name, raw in found.items() if raw != b"null"}


def document_of(fields: Mapping[str, bytes]) -> bytes:
    """The JSON object of these fields."""
    return b"{" + b",".join([msgspec.json.encode(name) + b":" + raw for name, raw in fields.items()]) + b"}"


def _event(raw: bytes, report: Report, redact: Redact) -> EventTelling:
    kept = _kept(fields_of(raw), report, redact)
    ids = _IDS.decode(document_of(kept.fields))
    return EventTelling(
        ids.event_id, ids.event_type, ids.run_id, report.received_at_us, kept.fields, kept.redacted
    )


def _kept(told: Fields, report: Report, redact: Redact) -> Kept:
    """As it may be stored, in the order in which it was told."""
    if report.is_content_refused:
        told = {name: raw for name, raw in told.items() if name in _WITHOUT_CONTENT}
    words = {name: raw for name, raw in told.items() if name not in _FIGURES}
    before = document_of(words)
    after, counts = redact(before) if words else (before, ())
    if after == before:
        return Kept(told)
    redacted = fields_of(after)
    fields = {name: raw for name, raw in {**told, **redacted}.items() if name in redacted or name in _FIGURES}
    return Kept(fields, dict(counts))


def _redacted_text(text: str, redact: Redact) -> tuple[str, Counts]:
    document, counts = redact(msgspec.json.encode({"run_id": text}))
    return str(msgspec.json.decode(document)["run_id"]), dict(counts)
