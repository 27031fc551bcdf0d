"""Projects, their keys and provider keys, and what is asked for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from watchllm_proxy.console.account import MAX_NAME
from watchllm_proxy.console.api.schemas.words import (
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
from watchllm_proxy.console.keys import DEFAULT_GRACE_S, MAX_GRACE_S
from watchllm_proxy.grants import Scope
from watchllm_proxy.sealing import MAX_PROVIDER_KEY_CHARACTERS
from watchllm_proxy.store.projects import PROJECT_ID

PROVIDER_KEY_PATTERN: Final = f"^[\\x21-\\x7e]{{1,{MAX_PROVIDER_KEY_CHARACTERS}}}$"
PROJECT_ID_PATTERN: Final = f"^{PROJECT_ID.pattern}$"
_KEY: Final = {
    "key_id": UUID,
    "project_id": STRING,
    "name": STRING,
    "key_prefix": STRING,
    "scopes": list_of(one_of(Scope)),
    "is_in_force": BOOLEAN,
    "created_at": INSTANT,
    "expires_at": MAYBE_INSTANT,
    "revoked_at": MAYBE_INSTANT,
    "replaced_by": MAYBE_UUID,
    "requests_per_minute": MAYBE_COUNT,
    "monthly_cap_usd": USD,
}

SCHEMAS: Final[Mapping[str, Schema]] = {
    "Key": closed(_KEY),
    "KeyList": closed({"keys": list_of(ref("Key"))}),
    "OneKey": closed({"key": ref("Key")}),
    "NewKey": closed({"key": ref("Key"), "secret": STRING}),
    "NewKeys": closed({"keys": list_of(ref("NewKey"))}),
    "Revoked": closed({"revoked": COUNT}),
    "Nothing": closed({}),
    "RotateAllRequest": {
        "type": "object",
        "properties": {
            "grace_s": {"type": "integer", "minimum": 0, "maximum": MAX_GRACE_S, "default": DEFAULT_GRACE_S}
        },
        "additionalProperties": False,
    },
    "KeyRequest": {
        "type": "object",
        "properties": {
            "name": {**STRING, "minLength": 1, "maxLength": MAX_NAME},
            "scopes": or_null({**list_of(one_of(Scope)), "minItems": 1}),
            "project_id": TEXT,
        },
        "additionalProperties": False,
    },
    "RotateRequest": {
        "type": "object",
        "properties": {
            "grace_s": {"type": "integer", "minimum": 0, "maximum": MAX_GRACE_S, "default": DEFAULT_GRACE_S},
            "project_id": TEXT,
        },
        "additionalProperties": False,
    },
    "ProviderKey": closed(
        {
            "provider_key": or_null(closed({"last_four": STRING, "set_at": INSTANT})),
            "can_be_set": BOOLEAN,
        }
    ),
    "ProviderKeyRequest": {
        "type": "object",
        "properties": {"provider_key": {**STRING, "pattern": PROVIDER_KEY_PATTERN}, "project_id": TEXT},
        "required": ["provider_key"],
        "additionalProperties": False,
    },
    "ProjectList": closed(
        {
            "projects": list_of(
                closed(
                    {
                        "project_id": STRING,
                        "name": STRING,
                        "created_at": INSTANT,
                        "keys_in_force": COUNT,
                        "plan": STRING,
                        "wanted_plan": TEXT,
                    }
                )
            )
        }
    ),
    "NewProject": closed({"project": closed({"project_id": STRING, "name": STRING})}),
    "ProjectRequest": {
        "type": "object",
        "properties": {
            "project_id": {**STRING, "pattern": PROJECT_ID_PATTERN},
            "name": {**STRING, "minLength": 1, "maxLength": MAX_NAME},
        },
        "required": ["project_id"],
        "additionalProperties": False,
    },
}
