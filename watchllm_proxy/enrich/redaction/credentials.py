"""Credentials: keys of providers by their form, tokens, private keys, passwords beside their name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from watchllm_proxy.enrich.redaction.kinds import RedactionKind
from watchllm_proxy.enrich.redaction.rules import (
    APART,
    Found,
    Place,
    Rule,
    Span,
    TooMany,
    as_it_is,
    compiled,
    long_rule,
)

_KEYS = (
    # ours, and model providers
    r"lgw_proj_[A-Za-z0-9_-]{8,}",
    r"sk-(?:or|ant)-[A-Za-z0-9_-]{8,}",
    r"gsk_[A-Za-z0-9]{20,}",  # Groq
    r"xai-[A-Za-z0-9]{20,}",
    r"pplx-[A-Za-z0-9]{20,}",
    r"(?:hf|api_org)_[A-Za-z0-9]{20,}",  # Hugging Face
    r"r8_[A-Za-z0-9]{20,}",  # Replicate
    r"nvapi-[A-Za-z0-9_-]{20,}",
    r"fw_[A-Za-z0-9]{20,}",  # Fireworks
    r"csk-[A-Za-z0-9]{20,}",  # Cerebras
    r"AIza[A-Za-z0-9_-]{35}",  # Google
    r"ya29\.[A-Za-z0-9_-]{20,}",
    r"GOCSPX-[A-Za-z0-9_-]{20,}",
    # clouds and tools
    r"(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z2-7]{16}\b",  # AWS
    r"ABSK[A-Za-z0-9+/]{40,}={0,}",  # AWS Bedrock
    r"gh[opsur]_[A-Za-z0-9]{20,}",  # GitHub
    r"github_pat_[A-Za-z0-9_]{22,}",
    r"gl(?:pat|ptt|dt|rt|cbt|soat|ffct|ft|agent|oas)-[A-Za-z0-9_.-]{20,}",  # GitLab
    r"xox[abceoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}",  # Slack
    r"xapp-[A-Za-z0-9-]{10,}",
    r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,}",
    r"[sr]k_(?:live|test)_[A-Za-z0-9]{10,}",  # Stripe
    r"whsec_[A-Za-z0-9+/=]{16,}",
    r"npm_[A-Za-z0-9]{30,}",
    r"pypi-[A-Za-z0-9_-]{50,}",
    r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",  # SendGrid
    r"(?:SK|AC)[0-9a-f]{32}\b",  # Twilio
    r"key-[0-9a-f]{32}\b",  # Mailgun
    r"do[opr]_v1_[a-f0-9]{64}",  # DigitalOcean
    r"dapi[a-f0-9]{32}",  # Databricks
    r"shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}",  # Shopify
    r"[0-9]{8,}:AA[A-Za-z0-9_-]{33}",  # Telegram
    r"[MNO][A-Za-z0-9_-]{23,}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}",  # Discord
    r"lin_api_[A-Za-z0-9]{32,}",  # Linear
    r"(?:ntn|secret)_[A-Za-z0-9]{40,}",  # Notion
    r"AT(?:ATT|CTT|BB)[A-Za-z0-9_=-]{24,}",  # Atlassian
    r"hv[bs]\.[A-Za-z0-9_-]{20,}",  # Vault
    r"AGE-SECRET-KEY-1[0-9A-Z]{58}",
    r"pcsk_[A-Za-z0-9_]{30,}",  # Pinecone
    r"sb(?:p_[a-f0-9]{40}|_secret_[A-Za-z0-9_-]{20,})",  # Supabase
    r"sntry[su]_[A-Za-z0-9_=+/]{30,}",
    r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}",  # Postman
    r"figd_[A-Za-z0-9_-]{30,}",
    r"pat[A-Za-z0-9]{14}\.[a-f0-9]{64}",  # Airtable
    r"tvly-[A-Za-z0-9-]{16,}",  # Tavily
    r"lsv2_(?:pt|sk)_[A-Za-z0-9_]{32,}",  # LangSmith
    r"glsa_[A-Za-z0-9_]{32,}",  # Grafana
    r"dp\.(?:pt|st|ct|sa)\.[A-Za-z0-9_.-]{30,}",  # Doppler
    r"vercel_blob_rw_[A-Za-z0-9_]{20,}",
    r"EAA[A-Za-z0-9]{60,}",  # Facebook
    r"sq0(?:atp|csp)-[A-Za-z0-9_-]{22,}",  # Square
)

_NAMES_OF_SECRETS = (
    "password|passwd|passphrase|passcode|pwd|"
    "secret|client[_-]?secret|(?:api|access|auth|secret|private|encryption|signing|account|shared)[_-]?key|"
    "(?:access|auth|refresh|api|bearer|session|id|security)[_-]?token|"
    "aws_secret_access_key|secret_access_key|credentials?"
)
_FIELD_OF_SECRET = compiled(
    rf"^((?:[A-Za-z0-9]+[_.-]){{0,4}}(?:{_NAMES_OF_SECRETS}|authorization))$", ignore_case=True
)
_MIN_SECRET_CHARACTERS = 4
_SCHEMA_WORDS = frozenset(
    {b"string", b"number", b"integer", b"boolean", b"object", b"array", b"null", b"none", b"true", b"false"}
)

_DIGITS, _LOWER, _UPPER = (
    frozenset(b"0123456789"), frozenset(b"abcdefghijklmnopqrstuvwxyz"), frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
)  # fmt: skip
_LOOKED_AT = 512
_UNBROKEN = compiled(r"([A-Za-z0-9]{16})")


def is_secret_field(name: bytes) -> bool:
    """Whether what stands in a field of that name is a secret, whatever it looks like."""
    return len(name) <= 80 and _FIELD_OF_SECRET.search(name) is not None


def field_secret(text: bytes, context: bytes) -> Span | None:
    """The whole text, where the name of its field says that it is a secret."""
    if not context or not is_secret_field(context):
        return None
    value = text.strip()
    if len(value) < _MIN_SECRET_CHARACTERS or value.lower() in _SCHEMA_WORDS or value.startswith(b"$"):
        return None
    start = text.find(value)
    return Span(start, start + len(value), RedactionKind.PASSWORD, value)


def _openai_like(place: Place) -> Found | None:
    """`sk-` begins words too, as in "risk-sk-averse-…" or a slug: a key has a digit, or a long unbroken part."""
    value = place.value[:_LOOKED_AT]
    return as_it_is(place) if _DIGITS & set(value[3:]) or _UNBROKEN.search(value) else None


def _after_scheme(place: Place) -> Found | None:
    """A word after "Bearer" or "Basic" that is no word: it has digits, or changes case within."""
    letters = set(place.value[:_LOOKED_AT])
    return as_it_is(place) if letters & _DIGITS or (letters & _UPPER and letters & _LOWER) else None


def _beside_its_name(place: Place) -> Found | None:
    """`password = hunter2`, not `password = get_password` or `api_key=settings.key`: letters and digits both."""
    letters = set(place.value[:_LOOKED_AT])
    return as_it_is(place) if letters & _DIGITS and letters & (_LOWER | _UPPER) else None


def _password_in_url(place: Place) -> Found | None:
    return None if place.value.startswith((b"$", b"{", b"<", b"*")) else as_it_is(place)


_MAX_KEY_BYTES = 8_192
_MAX_PRIVATE_KEYS = 1_000
_BEGIN = compiled(r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)")
_END = compiled(r"(-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)")
_KEY_MATERIAL = compiled(r"^((?:[A-Za-z0-9+/=\r\n\t\\]| )*)")


@dataclass(frozen=True, slots=True)
class PrivateKeys:
    """PEM and OpenSSH blocks; one that is cut before its end goes as far as it looks like one."""

    kind: RedactionKind = RedactionKind.PRIVATE_KEY
    pattern: Any = _BEGIN

    def spans(self, text: bytes, context: bytes) -> Iterator[Span]:
        ends = iter(match.span(1) for match in _END.finditer(text))
        end = next(ends, None)
        done = 0
        for places, begin in enumerate(_BEGIN.finditer(text)):
            start, header_end = begin.span(1)
            if start < done:
                continue
            while end is not None and end[0] < header_end:
                end = next(ends, None)
            if end is None:
                window = text[header_end : header_end + _MAX_KEY_BYTES]
                done = header_end + _KEY_MATERIAL.search(window).end(1)
            else:
                done = end[1]
            if places >= _MAX_PRIVATE_KEYS:
                raise TooMany(start)
            yield Span(start, done, self.kind, text[start:done])


CREDENTIALS = (
    PrivateKeys(),
    long_rule(
        RedactionKind.JWT,
        APART,
        r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{2,}(?:\.[A-Za-z0-9_-]*){1,3}",
        as_it_is,
    ),
    Rule(
        RedactionKind.PASSWORD,
        compiled(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/@:\"'<>\\]*:([^\s/@\"'<>\\]+)@"),
        _password_in_url,
    ),
    long_rule(RedactionKind.API_KEY, APART, f"(?:{'|'.join(_KEYS)})", as_it_is),
    long_rule(RedactionKind.API_KEY, APART, r"sk-[A-Za-z0-9_-]{16,}", _openai_like),
    long_rule(
        RedactionKind.API_KEY,
        r"\b(?:bearer|basic|token)(?:\s|%20|\+){1,4}",
        r"[A-Za-z0-9._~+/=-]{16,}",
        _after_scheme,
        ignore_case=True,
    ),
    long_rule(
        RedactionKind.PASSWORD,
        rf"(?:{_NAMES_OF_SECRETS})[\"'\\]{{0,4}}\s{{0,4}}(?:=>|:=|[:=])\s{{0,4}}[\"'\\]{{0,4}}",
        r"[^\s\"',;<>\[\]{}()\\&]{6,}",
        _beside_its_name,
        ignore_case=True,
        max_places=4_000,
    ),
)
