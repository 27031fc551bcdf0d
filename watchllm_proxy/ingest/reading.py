"""A request body -> what is to be kept of it, or `Unfit`: which field is wrong, and what would be right.

Nothing of a run is taken unless all of it can be; of many events each is taken or rejected by itself. What is kept
is the text as it was sent. An error never quotes what the client sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Generic, TypeVar

import msgspec

from watchllm_proxy.ingest import shapes
from watchllm_proxy.ingest.shapes import (
    MAX_COUNT,
    MAX_EVENTS,
    MAX_ID_CHARACTERS,
    MAX_STEPS,
    MAX_USD,
    Change,
    Event,
    Run,
    Step,
    Steps,
)
from watchllm_proxy.records import StepType

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_MAX_PLACES = 29
_SPARE_DEPTH = 60
"""Values are read here with this many calls on the stack that whoever reads them later need not have."""

T = TypeVar("T")


class Unfit(Exception):
    """A body that is not taken: how to answer. `str()` says what is wrong and what would be right."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        self.status = status
        self.code = code
        self.param = param
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class TakenRun:
    """`body` is to be kept: an object with fields of the run and its steps."""

    run_id: str
    body: bytes
    steps: int


@dataclass(frozen=True, slots=True)
class TakenEvent:
    """What came of one event of a batch. `unfit` None: it is taken."""

    event_id: str | None
    unfit: Unfit | None = None


@dataclass(frozen=True, slots=True)
class TakenEvents:
    """`body` is to be kept: an array of those that were taken."""

    body: bytes
    outcomes: tuple[TakenEvent, ...]

    @property
    def accepted(self) -> int:
        return sum(each.unfit is None for each in self.outcomes)


def read_run(body: bytes, project_id: str) -> TakenRun:
    """`POST /v1/agent-runs`. Raises `Unfit`."""
    return _read_run(_RUN, body, project_id, None)


def read_steps(body: bytes, project_id: str, run_id: str) -> TakenRun:
    """`POST /v1/agent-runs/{run_id}/steps`. Raises `Unfit`."""
    return _read_run(_STEPS, body, project_id, run_id)


def read_change(body: bytes, project_id: str, run_id: str) -> TakenRun:
    """`PATCH /v1/agent-runs/{run_id}`. Raises `Unfit`."""
    return _read_run(_CHANGE, body, project_id, run_id)


def read_event(body: bytes, project_id: str) -> TakenEvents:
    """`POST /v1/projects/{project_id}/events`: one event. Raises `Unfit`."""
    body = _text(body)
    event = _checked_event(body, project_id)
    return TakenEvents(b"[" + body + b"]", (TakenEvent(event.event_id),))


def read_events(body: bytes, project_id: str) -> TakenEvents:
    """`POST /v1/events/batch`: each is taken or not. Raises `Unfit` where the batch itself is none."""
    events = _BATCH.decode(_text(body)).events
    if len(events) > MAX_EVENTS:
        raise Unfit(413, "too_many_events", f"Send at most {MAX_EVENTS} events in one batch.", "events")
    outcomes, taken = [], []
    for raw in map(bytes, events):
        try:
            outcomes.append(TakenEvent(_checked_event(raw, project_id).event_id))
            taken.append(raw)
        except Unfit as exc:
            outcomes.append(TakenEvent(_event_id(raw), exc))
    return TakenEvents(b"[" + b",".join(taken) + b"]", tuple(outcomes))


def check_id(run_id: str, name: str) -> str:
    """An id of a run, an event or a session. Raises `Unfit`."""
    if not 1 <= len(run_id) <= MAX_ID_CHARACTERS or not run_id.isprintable():
        raise wrong(name, f"must be 1 to {MAX_ID_CHARACTERS} printable characters")
    return run_id


# --- shapes -----------------------------------------------------------------------------------------


class _Batch(msgspec.Struct):
    events: list[msgspec.Raw]


class _Named(msgspec.Struct):
    event_id: str


class Decoder(Generic[T]):
    """Decodes one shape; what msgspec says of an error becomes a field and a sentence."""

    def __init__(self, shape: object, values: dict[str, tuple[str, ...]] | None = None) -> None:
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(shape)
        self._values = values or {}

    def decode(self, body: bytes) -> T:
        """Raises `Unfit`."""
        try:
            return _deeper(_SPARE_DEPTH, self._decoder.decode, body)
        except msgspec.ValidationError as exc:
            raise self._unfit(str(exc)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            at = _BYTE.search(str(exc))
            where = f" (at byte {at[1]})" if at else ""
            raise Unfit(
                400, "invalid_json", f"The body is not valid JSON{where}. Numbers must be finite."
            ) from None
        except RecursionError:
            raise Unfit(422, "nested_too_deeply", "A value in the body is nested too deeply.") from None

    def _unfit(self, told: str) -> Unfit:
        words, _, path = told.partition(" - at `")
        param = path.rstrip("`").removeprefix("$").removeprefix(".")
        if unknown := _UNKNOWN.match(words):
            return wrong(f"{param}.{unknown[1]}" if param else unknown[1], "is no field of this request")
        if missing := _MISSING.match(words):
            param = f"{param}.{missing[1]}" if param else missing[1]
            return wrong(param, "is missing")
        if words.startswith("Invalid"):
            allowed = self._values.get(param.rpartition(".")[2])
            if allowed:
                return wrong(param, f"must be one of {', '.join(allowed)}")
            return wrong(param, "must be an instant such as 2026-01-15T10:00:00Z")
        expected = (
            words.removeprefix("Expected ").replace("`", "").replace(" | null", "").replace("decimal", "number")
        )
        return wrong(param, f"must be: {expected}")


_BYTE = re.compile(r"\(byte (\d+)\)")
_UNKNOWN = re.compile(r"Object contains unknown field `(\w+)`")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_RUN_VALUES = {"type": tuple(StepType), "status": shapes.Status.__args__}  # type: ignore[attr-defined]
_EVENT_VALUES = {
    "event_type": tuple(shapes.EventType),
    "status": shapes.EventStatus.__args__,  # type: ignore[attr-defined]
    "env": shapes.Environment.__args__,  # type: ignore[attr-defined]
    "step_type": shapes.AgentStepType.__args__,  # type: ignore[attr-defined]
}
_RUN: Decoder[Run] = Decoder(Run, _RUN_VALUES)
_STEPS: Decoder[Steps] = Decoder(Steps, _RUN_VALUES)
_CHANGE: Decoder[Change] = Decoder(Change, _RUN_VALUES)
_EVENT: Decoder[Event] = Decoder(Event, _EVENT_VALUES)
_BATCH: Decoder[_Batch] = Decoder(_Batch)
_ID = msgspec.json.Decoder(_Named)


def _deeper(calls: int, function: Callable[[bytes], T], body: bytes) -> T:
    return function(body) if calls == 0 else _deeper(calls - 1, function, body)


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.S
)


def _text(body: bytes) -> bytes:
    """UTF-8 without lone surrogates, which JavaScript makes of a text cut in two: each becomes U+FFFD."""
    try:
        body.decode()
    except UnicodeDecodeError as exc:
        raise Unfit(400, "invalid_json", f"The body is not UTF-8 (at byte {exc.start}).") from None
    if not _SURROGATE.search(body):
        return body
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match[1] else match[0], body)


# --- values -----------------------------------------------------------------------------------------


def _read_run(decoder: Decoder[T], body: bytes, project_id: str, run_id: str | None) -> TakenRun:
    body = _text(body)
    told = decoder.decode(body)
    assert isinstance(told, Change)  # noqa: S101 - what the decoders here make
    if run_id is not None:
        check_id(run_id, "run_id")
    if run_id is not None and told.run_id not in {None, run_id}:
        raise wrong("run_id", "must be that of the path, or left out")
    run_id = check_id(told.run_id or "", "run_id") if run_id is None else run_id
    _check_project(told.project_id, project_id)
    _check_change(told)
    if len(told.steps) > MAX_STEPS:
        raise Unfit(413, "too_many_steps", f"At most {MAX_STEPS} steps at once, the rest by …/steps.", "steps")
    seen: set[int] = set()
    for place, step in enumerate(told.steps):
        if step.step_index in seen:
            raise wrong(f"steps[{place}].step_index", "stands twice in this request")
        seen.add(step.step_index)
        _check_step(step, f"steps[{place}].")
    return TakenRun(run_id, body, len(told.steps))


def _check_change(told: Change) -> None:
    for name in ("session_id", "parent_run_id"):
        value: str | None = getattr(told, name)
        if value is not None:
            check_id(value, name)
    _check_instant(told.started_at, "started_at")
    _check_instant(told.ended_at, "ended_at")
    _check_usd(told.total_cost_usd, "total_cost_usd")


def _check_step(step: Step, at: str) -> None:
    _check_instant(step.timestamp, f"{at}timestamp")
    _check_count(step.token_cost, at, "token_cost")
    _check_usd(step.api_cost_usd, f"{at}api_cost_usd")
    _check_count(step.duration_ms, at, "duration_ms")
    _check_count(step.input_tokens, at, "input_tokens")
    _check_count(step.output_tokens, at, "output_tokens")


def _checked_event(body: bytes, project_id: str) -> Event:
    event = _EVENT.decode(body)
    check_id(event.event_id, "event_id")
    if event.run_id is not None:
        check_id(event.run_id, "run_id")
    _check_project(event.project_id, project_id)
    _check_instant(event.timestamp, "timestamp")
    for name, value in _figures(event):
        if name.endswith("_usd"):
            _check_usd(value, name)
        elif name in {"threshold", "actual_value"}:
            _check_finite(value, name)
        else:
            _check_count(value, "", name)
    return event


def _figures(event: Event) -> Iterator[tuple[str, Decimal]]:
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, Decimal):
            yield name, value


def _event_id(raw: bytes) -> str | None:
    """Of an event that is not taken, so that its sender finds it."""
    try:
        event_id = _ID.decode(raw).event_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return event_id if len(event_id) <= MAX_ID_CHARACTERS and event_id.isprintable() else None


def _check_project(told: str | None, project_id: str) -> None:
    if told is not None and told != project_id:
        raise wrong("project_id", "must be the project of the key, or left out")


def _check_instant(at: datetime | None, name: str) -> None:
    """One without an offset is in UTC."""
    if at is not None and not EARLIEST <= (at if at.tzinfo else at.replace(tzinfo=UTC)) < LATEST:
        raise wrong(name, f"must lie between the years {EARLIEST.year} and {LATEST.year}")


def _check_count(value: Decimal | None, at: str, name: str) -> None:
    if value is None:
        return
    if not value.is_finite() or not 0 <= value <= MAX_COUNT or value != value.to_integral_value():
        raise wrong(f"{at}{name}", f"must be a whole number from 0 to {MAX_COUNT:f}")


def _check_usd(value: Decimal | None, name: str) -> None:
    if value is None:
        return
    if not value.is_finite() or not 0 <= value < MAX_USD:
        raise wrong(name, f"must be US dollars, from 0 to below {MAX_USD}")
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -_MAX_PLACES:
        raise wrong(name, f"must have at most {_MAX_PLACES} decimals")


def _check_finite(value: Decimal, name: str) -> None:
    if not value.is_finite():
        raise wrong(name, "must be a finite number")


def wrong(param: str, what: str) -> Unfit:
    """In a sentence that begins with the field; the body as a whole where there is none."""
    return Unfit(422, "invalid_field", f"{param or 'The body'} {what}.", param or None)
