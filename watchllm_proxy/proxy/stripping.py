"""Credentials out of what is captured: header values and query parameters become `[stripped]`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from watchllm_proxy.proxy.headers import Field
from watchllm_proxy.records import Headers

STRIPPED = "[stripped]"

CREDENTIAL_HEADERS = frozenset(
    (
        b"authorization",
        b"proxy-authorization",
        b"cookie",
        b"set-cookie",
        b"x-api-key",
        b"api-key",
        b"x-goog-api-key",
        b"x-watchllm-key",
    )
)

# A key in a header of any name: ours, and the `sk-…` of OpenAI, Anthropic, OpenRouter and others.
_KEY_SHAPED = re.compile(rb"lgw_proj_|(?<![A-Za-z0-9])sk-[A-Za-z0-9_\-]{8}")
_CREDENTIAL_PARAMETER = re.compile(r"(?<=[?&])((?:key|api[-_]key|token|access_token)=)[^&]*", re.IGNORECASE)


def strip_headers(fields: Iterable[Field]) -> Headers:
    """`fields` as text (latin-1), order, case and repeats kept."""
    return tuple(
        [
            (name.decode("latin-1"), STRIPPED if _is_secret(name, value) else value.decode("latin-1"))
            for name, value in fields
        ]
    )


def strip_target(target: str) -> str:
    """`target` with the values of query parameters that carry keys taken out, and keys anywhere else too."""
    if "?" in target:
        target = _CREDENTIAL_PARAMETER.sub(rf"\1{STRIPPED}", target)
    return target


def _is_secret(name: bytes, value: bytes) -> bool:
    if name.lower() in CREDENTIAL_HEADERS:
        return True
    return (b"sk-" in value or b"lgw_" in value) and _KEY_SHAPED.search(value) is not None
