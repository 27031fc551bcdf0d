"""JSON schemas of our answers. Closed: a field that is not named here is a mistake, and a test finds it.

words      what schemas are said in: counts, instants, lists of, or null
runs       runs, steps, calls and corrections      run_page   what the script of a run page reads
keys       projects, keys and provider keys        account    plans, settings, limits, usage
redaction  how a project redacts
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from watchllm_proxy.console.api.schemas import account, keys, redaction, run_page, runs
from watchllm_proxy.console.api.schemas.words import (
    ANYTHING,
    BOOLEAN,
    COUNT,
    INSTANT,
    MAYBE_COUNT,
    MAYBE_INSTANT,
    MAYBE_UUID,
    STRING,
    TEXT,
    USD,
    UUID,
    Schema,
    closed,
    list_of,
    one_of,
    or_null,
    ref,
)

__all__ = [
    "ALL",
    "ANYTHING",
    "BOOLEAN",
    "COUNT",
    "INSTANT",
    "MAYBE_COUNT",
    "MAYBE_INSTANT",
    "MAYBE_UUID",
    "STRING",
    "TEXT",
    "USD",
    "UUID",
    "Schema",
    "closed",
    "list_of",
    "one_of",
    "or_null",
    "ref",
]

ALL: Final[Mapping[str, Schema]] = {
    "Error": closed({"error": closed({"message": STRING, "type": STRING, "code": TEXT, "param": TEXT})}),
    "Health": closed({"status": {"const": "ok"}}),
    "Readiness": closed(
        {
            "status": {"enum": ["ok", "degraded", "stopping"]},
            "checks": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "status": {"enum": ["ok", "degraded"]},
                        "detail": STRING,
                        # Of what is away, and tried now and then.
                        "since": INSTANT,
                        "tries": COUNT,
                        "retry_in_s": {"type": "number", "minimum": 0},
                    },
                    "required": ["status"],
                },
            },
        }
    ),
    **runs.SCHEMAS,
    **run_page.SCHEMAS,
    **keys.SCHEMAS,
    **account.SCHEMAS,
    **redaction.SCHEMAS,
}
