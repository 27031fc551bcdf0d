"""The words that schemas are said in. A schema is closed: a field that it does not name is a mistake."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

Schema = Mapping[str, object]


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def closed(fields: Mapping[str, object]) -> Schema:
    """An object with all of these fields, and no others."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def one_of(members: type[StrEnum]) -> Schema:
    return {"type": "string", "enum": list(members)}


STRING: Final[Schema] = {"type": "string"}
TEXT: Final[Schema] = {"type": ["string", "null"]}
BOOLEAN: Final[Schema] = {"type": "boolean"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
MAYBE_COUNT: Final[Schema] = {"type": ["integer", "null"], "minimum": 0}
USD: Final[Schema] = {"type": ["number", "null"], "description": "US dollars; null is not known, 0 is free."}
INSTANT: Final[Schema] = {"type": "string", "format": "date-time"}
MAYBE_INSTANT: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}
UUID: Final[Schema] = {"type": "string", "format": "uuid"}
MAYBE_UUID: Final[Schema] = {"type": ["string", "null"], "format": "uuid"}
ANYTHING: Final[Schema] = {"description": "Any JSON, as it was captured."}
