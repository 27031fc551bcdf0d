"""Credentials out of what is captured: header values and query parameters become `[stripped]`.

By name first: what is called a token, a secret or a key is one, whoever made the header up. Then by look, in
headers and targets of any name. Bodies are another matter: the recorder's.
"""

from __future__ import annotations

import functools
import re
import urllib.parse
from collections.abc import Sequence

from watchllm_proxy.proxy.headers import Field
from watchllm_proxy.records import Headers

STRIPPED = "[stripped]"
_STRIPPED = STRIPPED.encode()

MAX_REMEMBERED_BYTES = 64
"""Longer header names are not worth the memory."""

_SECRET_WORDS = frozenset(("jwt", "sig", "signature", "pwd", "passwd", "bearer", "assertion"))
_SECRET_ENDINGS = (
    "auth", "authorization", "authentication", "token", "secret", "password", "apikey", "credential",
    "credentials", "cookie",
)  # fmt: skip
_HARMLESS_KEYS = frozenset(("idempotency", "cache", "surrogate", "websocket", "routing", "partition"))
"""What comes before `-Key` in names of headers that are no credentials."""

_SECRET_PARAMETERS = frozenset(("code",))  # of OAuth, and the key of an Azure function
_WORD_ENDS = re.compile(r"[-_.\[\]]")

# Keys by their look: ours, OpenAI's (and Anthropic's, OpenRouter's, …), Groq's, xAI's, Perplexity's, Google's,
# Hugging Face's, GitHub's, a JSON Web Token. A hint is looked for first: nearly every text holds none.
_HINTS = ("lgw_", "sk-", "gsk_", "xai-", "pplx-", "hf_", "AIza", "ghp_", "eyJ", "://", "earer ", "asic ")
_KEY = re.compile(
    r"lgw_proj_[A-Za-z0-9_\-]*"
    r"|(?<![A-Za-z0-9])(?:(?:sk|xai|pplx)-|(?:gsk|hf|ghp)_|AIza)[A-Za-z0-9_\-]{8,}"
    r"|(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-.]*"
)
_SCHEME_AND_KEY = re.compile(r"\b(?:Bearer|Basic) +[A-Za-z0-9._~+/\-]{8,}=*(?=$|[\s,;])", re.IGNORECASE)
_USER_IN_URL = re.compile(r"(?<=://)[^/?#@\s]*@")
_PARAMETER = re.compile(r"(?<=[?&;])([^=&;?#\s]{1,200})=[^&;#\s]*")


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
    if _is_suspicious(text):
        values = [_strip_value(value) if _is_suspicious(value) else value for value in values]
    return tuple(zip([name for name, _ in known], values, strict=True))


def strip_target(target: str) -> str:
    """`target` with the values of query parameters that carry keys taken out, and keys anywhere else too."""
    if "?" in target:
        target = _strip_parameters(target)
    return _KEY.sub(STRIPPED, target) if _is_suspicious(target) else target


def is_secret_name(name: str) -> bool:
    """Whether a header or parameter of this name holds a credential. `…-tokens` are counts."""
    words = [word for word in _WORD_ENDS.split(name.lower()) if word]
    if not words:
        return False
    if words[-1] == "key":
        return len(words) == 1 or words[-2] not in _HARMLESS_KEYS
    return any(word in _SECRET_WORDS or word.endswith(_SECRET_ENDINGS) for word in words)


def _is_suspicious(text: str) -> bool:
    for hint in _HINTS:  # noqa: SIM110 - a generator would take twice the time
        if hint in text:
            return True
    return False


def _strip_value(value: str) -> str:
    if _KEY.search(value) or _SCHEME_AND_KEY.search(value):
        return STRIPPED
    if "://" in value:  # a Referer, a Location
        value = _strip_parameters(_USER_IN_URL.sub(f"{STRIPPED}@", value))
    return value


def _strip_parameters(url: str) -> str:
    return _PARAMETER.sub(_strip_parameter, url)


def _strip_parameter(found: re.Match[str]) -> str:
    name = urllib.parse.unquote(found[1])
    is_secret = name.lower() in _SECRET_PARAMETERS or is_secret_name(name)
    return f"{found[1]}={STRIPPED}" if is_secret else found[0]


def _read_name(name: bytes) -> tuple[str, bool]:
    """A header's name as text, and whether its value is a credential."""
    shown = name.decode("latin-1")
    return shown, is_secret_name(shown)


_known_name = functools.lru_cache(1024)(_read_name)
