"""What the parts of `GET /openapi.json` are made of: answers, errors by status, requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from watchllm_proxy.console.api.schemas import Schema, ref

WRONG: Final[Mapping[str, str]] = {
    "400": "The body is not a JSON object.",
    "401": "The key shown is not in force, or none was sent.",
    "402": "The plan of the project has not got it; the message names one that has.",
    "403": "It needs the scope that `code` names, or comes from a page of elsewhere.",
    "404": "There is no such thing, or it is another project's: the same body.",
    "408": "The body stopped arriving.",
    "409": "It cannot be done now; the message says why.",
    "413": "The body is larger than this address takes.",
    "415": "The body is not application/json.",
    "422": "A field cannot be used; `param` names it.",
    "429": "Over a limit or quota; try again after Retry-After.",
    "503": "The store cannot be reached now; try again after Retry-After.",
}
WITHOUT_NUL: Final = r"^[^\u0000]*$"
_HTML: Final = {"text/html": {"schema": {"type": "string"}}}
_FIELDS: Final = {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}}
PAGE: Final[Schema] = {"description": "The page.", "content": _HTML}
PAGE_OR_ERROR: Final[Schema] = {
    "description": "What is wrong, as a page for people and as an error for programs.",
    "content": {**_HTML, "application/json": {"schema": ref("Error")}},
}
BACK: Final[Schema] = {"description": "Done: back to the page."}
FORM_ERRORS: Final = "401 403 404 413 415 422 503"
SENT_ERRORS: Final = "400 401 403 404 413 415 422 503"


# --- schemas and parameters ----------------------------------------------------------------------------


def _schema(schema: Schema | str) -> Schema:
    return ref(schema) if isinstance(schema, str) else schema


def storable(schema: Schema) -> Schema:
    """The same, and no text in it holds a NUL: what `console.values` refuses, the document does not promise."""
    made = {key: _storable(value) for key, value in schema.items()}
    is_open = "string" in _types(made) and made.keys().isdisjoint({"pattern", "enum", "format", "anyOf"})
    return {**made, "pattern": WITHOUT_NUL} if is_open else made


def _types(schema: Schema) -> Sequence[object]:
    found = schema.get("type")
    return found if isinstance(found, list | tuple) else [found]


def _storable(value: object) -> object:
    if isinstance(value, Mapping):
        return storable(value)
    return [_storable(each) for each in value] if isinstance(value, list | tuple) else value


def in_query(name: str, description: str, schema: Schema, *, required: bool = False) -> Schema:
    made = {"name": name, "in": "query", "description": description, "schema": storable(schema)}
    return {**made, "required": True} if required else made


def in_path(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": storable(schema)}


NAMED_PROJECT: Final = in_query(
    "project_id",
    "Another project than the key's own: for who administers the project `default`.",
    {"type": "string"},
)
KEY_ID: Final = in_path("key_id", "As lists of keys give it.", {"type": "string", "format": "uuid"})


# --- answers --------------------------------------------------------------------------------------------


def json_answer(description: str, schema: Schema | str) -> Schema:
    """`schema`: itself, or its name among the components."""
    return {"description": description, "content": {"application/json": {"schema": _schema(schema)}}}


def errors(statuses: str, words: Mapping[str, str] = WRONG) -> dict[str, Schema]:
    """The one shape of errors, for each of these statuses; `words` say what is special about some."""
    return {status: json_answer({**WRONG, **words}[status], "Error") for status in statuses.split()}


def page_errors(statuses: str) -> dict[str, Schema]:
    return dict.fromkeys(statuses.split(), PAGE_OR_ERROR)


# --- operations -----------------------------------------------------------------------------------------


def asked(summary: str, ok: Schema, *parameters: Schema, wrong: str = "401 403 503") -> Schema:
    """Answered at once, with 200 or with an error; a page, and what is wrong with it, to people."""
    refused = page_errors(wrong) if ok is PAGE else errors(wrong)
    return {"summary": summary, "parameters": parameters, "responses": {"200": ok, **refused}}


def sent(
    summary: str,
    body: Schema | str,
    ok: Mapping[str, Schema],
    *parameters: Schema,
    wrong: str = SENT_ERRORS,
    words: Mapping[str, str] = WRONG,
) -> Schema:
    """JSON, answered with one of `ok` by status or with an error."""
    return {
        "summary": summary,
        "parameters": parameters,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _schema(body)}}},
        "responses": {**ok, **errors(wrong, words)},
    }


def form(summary: str, ok: Mapping[str, Schema], *parameters: Schema, wrong: str = FORM_ERRORS) -> Schema:
    """Sent by a page of ours; what is wrong is told as a page."""
    return {
        "summary": summary,
        "parameters": parameters,
        "requestBody": _FIELDS,
        "responses": {**ok, **page_errors(wrong)},
    }
