"""How a project redacts, and what a text looks like then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from watchllm_proxy.console.api.schemas.words import (
    BOOLEAN,
    COUNT,
    STRING,
    Schema,
    closed,
    one_of,
    or_null,
)
from watchllm_proxy.console.redaction import MAX_TRIED_CHARACTERS
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.enrich.redaction.own import MAX_NAME_LETTERS, MAX_PATTERN_CHARACTERS, MAX_RULES

_RULES: Final[Schema] = {
    "type": "array",
    "maxItems": MAX_RULES,
    "items": closed(
        {
            "name": {**STRING, "pattern": f"^[a-z]{{1,{MAX_NAME_LETTERS}}}$"},
            "pattern": {**STRING, "maxLength": MAX_PATTERN_CHARACTERS, "description": "RE2."},
        }
    ),
}

SCHEMAS: Final[Mapping[str, Schema]] = {
    "Redaction": closed(
        {
            "redaction": closed(
                {
                    "mode": or_null(one_of(RedactionMode)),
                    "default_mode": one_of(RedactionMode),
                    "store_content": BOOLEAN,
                    "rules": _RULES,
                }
            )
        }
    ),
    "RedactionChange": {
        "type": "object",
        "properties": {"mode": or_null(one_of(RedactionMode)), "store_content": BOOLEAN, "rules": _RULES},
        "additionalProperties": False,
    },
    "RedactionTrial": {
        "type": "object",
        "properties": {
            "text": {**STRING, "maxLength": MAX_TRIED_CHARACTERS},
            "mode": or_null(one_of(RedactionMode)),
            "rules": _RULES,
        },
        "required": ["text"],
        "additionalProperties": False,
    },
    "Redacted": closed({"text": STRING, "redacted": {"type": "object", "additionalProperties": COUNT}}),
}
