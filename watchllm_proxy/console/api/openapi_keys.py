"""The part of `GET /openapi.json` about projects, keys and provider keys."""

from __future__ import annotations

from typing import Final

from watchllm_proxy.console.api.schemas import Schema, ref

_PROJECT: Final = {
    "name": "project_id",
    "in": "query",
    "description": "Another project than the key's own: for who administers the project `default`.",
    "schema": {"type": "string"},
}
_KEY_ID: Final = {"name": "key_id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
_HTML: Final = {"text/html": {"schema": {"type": "string"}}}
_PAGE: Final = {"description": "The page.", "content": _HTML}
PAGE_OR_ERROR: Final = {
    "description": "What is wrong, as a page for people and as an error for programs.",
    "content": {**_HTML, "application/json": {"schema": ref("Error")}},
}
_BACK: Final = {"description": "Done: back to the page."}
_IN: Final = {"description": "To the page that was asked for."}
_OUT: Final = {"description": "To /login."}
_WRONG: Final = {
    "400": "The body is not a JSON object.",
    "401": "The key shown is not in force, or none was sent.",
    "403": "It needs the scope that `code` names, or comes from a page of elsewhere.",
    "404": "There is no such project or key, or it is somebody else's: the same body.",
    "409": "It cannot be done now; the message says why.",
    "413": "The body is larger than this address takes.",
    "415": "The body is not application/json.",
    "422": "A field cannot be used; `param` names it.",
    "503": "The store cannot be reached now; try again after Retry-After.",
}


def _json(description: str, schema: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": ref(schema)}}}


def _errors(statuses: str) -> dict[str, Schema]:
    return {status: _json(_WRONG[status], "Error") for status in statuses.split()}


def _asked(summary: str, answer: str, *parameters: Schema) -> Schema:
    responses = {"200": _json("As it is.", answer), **_errors("401 403 404 503")}
    return {"summary": summary, "parameters": parameters, "responses": responses}


def _sent(summary: str, body: str, answer: str, *parameters: Schema, status: str = "201") -> Schema:
    return {
        "summary": summary,
        "parameters": parameters,
        "requestBody": {"required": True, "content": {"application/json": {"schema": ref(body)}}},
        "responses": {
            status: _json("Done.", answer),
            **_errors("400 401 403 404 409 413 415 422 503"),
        },
    }


def _form(summary: str, *parameters: Schema) -> Schema:
    """From the page; what is wrong is told on it."""
    wrong = dict.fromkeys(("401", "403", "404", "409", "413", "415", "422", "503"), PAGE_OR_ERROR)
    return {
        "summary": summary,
        "parameters": parameters,
        "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}},
        "responses": {"201": _PAGE, "303": _BACK, **wrong},
    }


def _login_form() -> Schema:
    return {
        "summary": "Opens a session by name and password; the answer sets its cookie",
        "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}},
        "responses": {"303": _IN, **dict.fromkeys(("401", "403", "429", "503"), _PAGE)},
    }


PATHS: Final = {
    "/api/projects": {
        "get": _asked("The projects that may be seen: the key's own, or all", "ProjectList"),
        "post": _sent("Make a project; for who administers the project `default`", "ProjectRequest", "NewProject"),
    },
    "/api/keys": {
        "get": _asked("The keys of a project, revoked ones too; never the keys themselves", "KeyList", _PROJECT),
        "post": _sent("Make a key; `secret` is the only time that it is shown", "KeyRequest", "NewKey"),
    },
    "/api/keys/{key_id}": {
        "delete": _asked("End a key for good, on every proxy within seconds", "OneKey", _KEY_ID, _PROJECT)
    },
    "/api/keys/{key_id}/rotate": {
        "post": _sent(
            "A new key that may the same; the old one ends after `grace_s`", "RotateRequest", "NewKey", _KEY_ID
        )
    },
    "/api/provider-key": {
        "get": _asked("Whether the project has one of its own, and how it ends", "ProviderKey", _PROJECT),
        "put": _sent(
            "Set it; it is sealed, and never given out", "ProviderKeyRequest", "ProviderKey", status="200"
        ),
        "delete": _asked("Remove it", "ProviderKey", _PROJECT),
    },
    "/login": {
        "get": {"summary": "Where people log in", "responses": {"200": _PAGE}},
        "post": _login_form(),
    },
    "/logout": {"post": {"summary": "Ends the session", "responses": {"303": _OUT, "503": _PAGE}}},
    "/settings/keys": {
        "get": {
            "summary": "Keys and provider key, as a page",
            "responses": {"200": _PAGE, **_errors("401 403 503")},
        },
        "post": _form("Make a key, from the page"),
    },
    "/settings/keys/{key_id}/rotate": {"post": _form("Replace a key, from the page", _KEY_ID)},
    "/settings/keys/{key_id}/revoke": {"post": _form("End a key, from the page", _KEY_ID)},
    "/settings/provider-key": {"post": _form("Set or remove the provider key, from the page")},
}
