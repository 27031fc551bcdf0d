"""What the script of a run page reads: columns of its timeline, a step, and what changed since the one before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from watchllm_proxy.console.api.schemas.words import (
    BOOLEAN,
    COUNT,
    MAYBE_COUNT,
    MAYBE_UUID,
    STRING,
    TEXT,
    UUID,
    Schema,
    closed,
    list_of,
    one_of,
    or_null,
    ref,
)
from watchllm_proxy.records import (
    Confidence,
    LinkKind,
    StepType,
)

_PIECES: Final = list_of({"type": "array", "items": STRING, "minItems": 2, "maxItems": 2})
_SHARE: Final[Schema] = {"type": "string", "pattern": "^[0-9.]+%$"}

SCHEMAS: Final[Mapping[str, Schema]] = {
    "Columns": closed(
        {
            "span_us": {"type": "integer", "minimum": 1},
            "names": list_of(STRING),
            "index_gaps": list_of(COUNT),
            "shape": list_of(STRING),
            "name": list_of(COUNT),
            "preview": list_of(STRING),
            "tags": {"type": "object", "additionalProperties": list_of(STRING)},
            "failed": list_of(COUNT),
            "start_gaps_us": list_of({"type": "integer"}),
            "duration_us": list_of(COUNT),
            "first_token_us": list_of(COUNT),
            "took": list_of(STRING),
            "tokens": list_of(STRING),
            "cost": list_of(STRING),
            "dearest": list_of(COUNT),
            "open": list_of(COUNT),
            "cuts": list_of({"type": "array", "items": COUNT, "minItems": 2, "maxItems": 2}),
        }
    ),
    "Files": {
        "type": "object",
        "description": "What was written as base64, by the label that stands in its place.",
        "additionalProperties": closed(
            {"address": STRING, "media_type": STRING, "size_bytes": COUNT, "is_picture": BOOLEAN}
        ),
    },
    "StepChanges": {
        "type": "object",
        "required": ["note", "answer", "previous", "files"],
        "properties": {
            "files": ref("Files"),
            "previous": MAYBE_COUNT,
            "note": TEXT,
            "kept": COUNT,
            "fresh": {"type": "array"},
            "answer": {},
            "rows": list_of(
                {
                    "type": "object",
                    "required": ["state"],
                    "properties": {
                        "state": {"enum": ["same", "changed", "added", "removed", "more"]},
                        "at": COUNT,
                        "count": COUNT,
                        "role": STRING,
                        "pieces": _PIECES,
                    },
                }
            ),
            "settings": list_of(closed({"name": STRING, "state": STRING, "pieces": _PIECES})),
            "tools": list_of(closed({"name": STRING, "state": STRING, "pieces": _PIECES})),
            "broke": TEXT,
            "lost": TEXT,
        },
    },
    "StepDetail": closed(
        {
            "index": COUNT,
            "type": one_of(StepType),
            "shape": STRING,
            "name": STRING,
            "tags": list_of(STRING),
            "is_failed": BOOLEAN,
            "http_status": MAYBE_COUNT,
            "facts": list_of({"type": "array", "items": STRING, "minItems": 2, "maxItems": 2}),
            "notes": list_of(closed({"severity": STRING, "message": STRING})),
            "explanations": list_of(closed({"text": STRING, "confidence": STRING, "rules": list_of(STRING)})),
            "error": or_null(closed({"type": STRING, "message": TEXT})),
            "summary": STRING,
            "decision": TEXT,
            "tool_args": TEXT,
            "tool_output": TEXT,
            "files": ref("Files"),
            "output_chars": MAYBE_COUNT,
            "tokens": list_of(closed({"label": STRING, "tokens": STRING, "share": _SHARE})),
            "attempts": list_of(
                closed(
                    {
                        "step": COUNT,
                        "says": STRING,
                        "took": STRING,
                        "left": _SHARE,
                        "width": _SHARE,
                        "first_token": _SHARE,
                    }
                )
            ),
            "related": list_of(closed({"label": STRING, "steps": list_of(COUNT)})),
            "why": list_of(
                closed(
                    {
                        "kind": one_of(LinkKind),
                        "sentence": STRING,
                        "is_overruled": BOOLEAN,
                        "value": STRING,
                        "confidence": one_of(Confidence),
                        "to_step": MAYBE_COUNT,
                    }
                )
            ),
            "call_id": MAYBE_UUID,
            "split": or_null(closed({"call_id": UUID, "is_first": BOOLEAN})),
        }
    ),
}
