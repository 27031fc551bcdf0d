"""The part of `GET /openapi.json` about projects, keys, provider keys, and who logs in."""

from __future__ import annotations

from typing import Final

from watchllm_proxy.console.api.openapi_parts import (
    BACK,
    FORM_ERRORS,
    KEY_ID,
    NAMED_PROJECT,
    PAGE,
    SENT_ERRORS,
    asked,
    form,
    in_path,
    json_answer,
    sent,
)
from watchllm_proxy.console.api.schemas import Schema

_OF_PROJECT: Final = in_path(
    "project_id", "The key's own, or another: as for `project_id` of /api/keys.", {"type": "string"}
)
_ASKED: Final = "401 403 404 503"
_SENT: Final = f"{SENT_ERRORS} 409"


def _asked(summary: str, answer: str, *parameters: Schema) -> Schema:
    return asked(summary, json_answer("As it is.", answer), *parameters, wrong=_ASKED)


def _sent(summary: str, body: str, answer: str, *parameters: Schema, status: str = "201") -> Schema:
    return sent(summary, body, {status: json_answer("Done.", answer)}, *parameters, wrong=_SENT)


def _form(summary: str, *parameters: Schema) -> Schema:
    return form(summary, {"200": PAGE, "201": PAGE, "303": BACK}, *parameters, wrong=f"{FORM_ERRORS} 409")


_LOGIN: Final = form(
    "Opens a session by name and password; the answer sets its cookie",
    {"303": {"description": "To the page that was asked for."}, "429": PAGE},
    wrong="401 403 415 422 503",
)
_LOGOUT: Final = {
    "summary": "Ends the session",
    "responses": {"303": {"description": "To /login."}, "503": PAGE},
}

PATHS: Final = {
    "/api/projects": {
        "get": _asked("The projects that may be seen: the key's own, or all", "ProjectList"),
        "post": _sent("Make a project; for who administers the project `default`", "ProjectRequest", "NewProject"),
    },
    "/api/projects/{project_id}/rotate": {
        "post": _sent(
            "New keys for all that are in force; the old ones end after `grace_s`",
            "RotateAllRequest",
            "NewKeys",
            _OF_PROJECT,
        )
    },
    "/api/projects/{project_id}/revoke": {
        "post": _sent("End every key of the project", "Nothing", "Revoked", _OF_PROJECT, status="200")
    },
    "/api/keys": {
        "get": _asked(
            "The keys of a project, revoked ones too; never the keys themselves", "KeyList", NAMED_PROJECT
        ),
        "post": _sent("Make a key; `secret` is the only time that it is shown", "KeyRequest", "NewKey"),
    },
    "/api/keys/{key_id}": {
        "delete": _asked("End a key for good, on every proxy within seconds", "OneKey", KEY_ID, NAMED_PROJECT)
    },
    "/api/keys/{key_id}/rotate": {
        "post": _sent(
            "A new key that may the same; the old one ends after `grace_s`", "RotateRequest", "NewKey", KEY_ID
        )
    },
    "/api/provider-key": {
        "get": _asked("Whether the project has one of its own, and how it ends", "ProviderKey", NAMED_PROJECT),
        "put": _sent(
            "Set it; it is sealed, and never given out", "ProviderKeyRequest", "ProviderKey", status="200"
        ),
        "delete": _asked("Remove it", "ProviderKey", NAMED_PROJECT),
    },
    "/login": {"get": asked("Where people log in", PAGE, wrong=""), "post": _LOGIN},
    "/logout": {"post": _LOGOUT},
    "/settings/keys": {
        "get": asked("Keys and provider key, as a page", PAGE, NAMED_PROJECT, wrong=_ASKED),
        "post": _form("Make a key, from the page"),
    },
    "/settings/keys/{key_id}/rotate": {"post": _form("Replace a key, from the page", KEY_ID)},
    "/settings/keys/{key_id}/revoke": {"post": _form("End a key, from the page", KEY_ID)},
    "/settings/keys/{key_id}/limits": {"post": _form("Limits of a key, from the page", KEY_ID)},
    "/settings/provider-key": {"post": _form("Set or remove the provider key, from the page")},
    "/settings/projects": {
        "get": asked("The projects that may be seen, as a page", PAGE),
        "post": _form("Make a project, from the page"),
    },
    "/settings/projects/{project_id}": {
        "get": asked("What a project may, and its limits, as a page", PAGE, _OF_PROJECT, wrong=_ASKED),
        "post": _form("Change them, from the page", _OF_PROJECT),
    },
    "/settings/projects/{project_id}/rotate": {"post": _form("New keys for all, from the page", _OF_PROJECT)},
    "/settings/projects/{project_id}/revoke": {"post": _form("End every key, from the page", _OF_PROJECT)},
}
