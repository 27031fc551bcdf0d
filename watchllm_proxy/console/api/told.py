"""What a client told of a run, a step or an event beyond what has a place of its own: kept, and shown as told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import orjson

from watchllm_proxy.ingest.shapes import EVENT_CLASSES, Change, EventType
from watchllm_proxy.ingest.shapes import Step as ToldStep
from watchllm_proxy.ingest.tellings import fields_of
from watchllm_proxy.records import Run, Step

Json = dict[str, object]

_EVENT_FIELDS = {str(kind): (*of.__struct_fields__, "event_type") for kind, of in EVENT_CLASSES.items()}


def meta_of(run: Run) -> Json:
    """`meta` as told; empty for a run that was captured."""
    meta = _told(run.reported).get("meta")
    return _fragments(fields_of(meta)) if meta is not None else {}


def told_of_run(run: Run) -> Json | None:
    """None: it was captured."""
    if run.reported is None:
        return None
    told = _told(run.reported)
    context = _context(told, Change.__struct_fields__)
    return {"total_cost_usd": _fragment(told.get("total_cost_usd")), "context": context}


def told_of_step(step: Step) -> Json | None:
    """None: it was captured."""
    if step.reported is None:
        return None
    told = _told(step.reported)
    if "event_id" in told:
        event_id = orjson.Fragment(told["event_id"])
        return {"source": "event", "event_id": event_id, "raw": None, "context": _fragments(told)}
    context = _context(told, ToldStep.__struct_fields__)
    return {"source": "run", "event_id": None, "raw": _fragment(told.get("raw")), "context": context}


def redacted_of(told: Run | Step) -> tuple[tuple[str, int], ...]:
    """Values that were put behind tags in what was told of it alone, by kind; none of what was captured."""
    if told.reported is None:
        return ()
    found = orjson.loads(told.reported).get("redacted", {})
    parts = list(found.values()) if isinstance(told, Run) else [found]
    counts = sum((Counter(part) for part in parts), Counter[str]())
    return tuple(sorted(counts.items()))


def token_cost_of(step: Step) -> int | None:
    """Tokens that were told as one figure; None: they were not."""
    told = _told(step.reported).get("token_cost")
    return None if told is None else int(float(orjson.loads(told)))


def cache_hit_of(step: Step) -> bool | None:
    """As told; None: it was not."""
    told = _told(step.reported).get("cache_hit")
    return None if told is None else told == b"true"


def event_of(told: Mapping[str, bytes]) -> Json:
    """An event as it was told, what it has beyond its fields among its `context`."""
    kind = str(orjson.loads(told.get("event_type", b'""')))
    known = _EVENT_FIELDS.get(kind, (*_EVENT_FIELDS[EventType.ERROR],))
    event = _fragments({name: raw for name, raw in told.items() if name in known and name != "context"})
    context = told.get("context")
    own = _fragments(fields_of(context)) if context is not None and context.startswith(b"{") else {}
    if context is not None and not own:
        own = {"context": _fragment(context)}
    return {**event, "context": {**own, **_context(told, known)}}


def _told(reported: str | None) -> dict[str, bytes]:
    return {} if reported is None else fields_of(fields_of(reported.encode())["told"])


def _context(told: Mapping[str, bytes], known: tuple[str, ...]) -> Json:
    return _fragments({name: raw for name, raw in told.items() if name not in known})


def _fragments(fields: Mapping[str, bytes]) -> Json:
    return {name: orjson.Fragment(raw) for name, raw in fields.items()}


def _fragment(raw: bytes | None) -> object:
    return None if raw is None else orjson.Fragment(raw)
