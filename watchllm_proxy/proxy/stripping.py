"""Credentials out of what is captured: header values and query parameters become `[stripped]`."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from watchllm_proxy.proxy.headers import Field
from watchllm_proxy.records import Headers

STRIPPED = "[stripped]"
_STRIPPED = STRIPPED.encode()

MAX_REMEMBERED_BYTES = 64
"""Longer header names are not worth the memory."""

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
_KEY_SHAPED = re.compile(r"lgw_proj_|(?<![A-Za-z0-9])sk-[A-Za-z0-9_\-]{8}")
_KEY_IN_TARGET = re.compile(rf"(?:{_KEY_SHAPED.pattern})[A-Za-z0-9_\-]*")
_CREDENTIAL_PARAMETER = re.compile(r"(?<=[?&])((?:key|api[-_]key|token|access_token)=)[^&]*", re.IGNORECASE)


def strip_headers(fields: Sequence[Field]) -> Headers:
    """`fields` as text (latin-1), order, case and repeats kept.

    On every call's path, so names are remembered and values decoded in one go; no value holds a line feed.
    """
    if not fields:
        return ()
    known = [_known_name(name) if len(name) <= MAX_REMEMBERED_BYTES else _read_name(name) for name, _ in fields]
    shown = [_STRIPPED if is_secret else field[1] for field, (_, is_secret) in zip(fields, known, strict=True)]
    text = b"\n".join(shown).decode("latin-1")
    values = text.split("\n")
    if "sk-" in text or "lgw_" in text:
        values = [STRIPPED if _KEY_SHAPED.search(value) else value for value in values]
    return tuple(zip([name for name, _ in known], values, strict=True))


def strip_target(target: str) -> str:
    """`target` with the values of query parameters that carry keys taken out, and keys anywhere else too."""
    if "?" in target:
        target = _CREDENTIAL_PARAMETER.sub(rf"\1{STRIPPED}", target)
    if "sk-" in target or "lgw_" in target:
        target = _KEY_IN_TARGET.sub(STRIPPED, target)
    return target


def _read_name(name: bytes) -> tuple[str, bool]:
    """A header's name as text, and whether its value is a credential."""
    return name.decode("latin-1"), name.lower() in CREDENTIAL_HEADERS


_known_name = functools.lru_cache(1024)(_read_name)
