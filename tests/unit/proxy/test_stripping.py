"""No credential gets into a capture."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.proxy.stripping import STRIPPED, strip_headers, strip_target

NAMES = st.text("abcXYZ-", min_size=1, max_size=70).map(str.encode)
VALUES = st.text("abc \xe9\xff,;=", max_size=20).map(lambda text: text.encode("latin-1"))

SECRET = (
    "Authorization", "Proxy-Authorization", "X-Authorization", "Authentication", "Cookie", "Set-Cookie",
    "X-Api-Key", "Api-Key", "apikey", "X-Goog-Api-Key", "X-WatchLLM-Key", "X-Auth-Token", "X-Auth-Key",
    "Token", "X-Access-Token", "X-Session-Token", "X-Csrf-Token", "X-Vault-Token", "X-Amz-Security-Token",
    "X-Forwarded-Access-Token", "Ocp-Apim-Subscription-Key", "X-Functions-Key", "Helicone-Auth",
    "Cf-Aig-Authorization", "CF-Access-Client-Secret", "X-Portkey-Api-Key", "X-Portkey-Virtual-Key",
    "X-Litellm-Api-Key", "Langfuse-Secret-Key", "OpenAI_Api_Key", "X-Password", "X-User-Credentials",
    "X-OAuth", "X-Hub-Signature", "X-Jwt",
)  # fmt: skip

HARMLESS = (
    "Content-Type", "User-Agent", "Accept", "X-Request-Id", "X-Run-Id", "Session_Id",
    "X-Claude-Code-Session-Id", "X-Litellm-End-User-Id", "X-Portkey-Metadata", "Cf-Aig-Metadata",
    "Idempotency-Key", "Sec-WebSocket-Key", "Surrogate-Key", "X-Cache-Key", "X-RateLimit-Remaining-Tokens",
    "Anthropic-RateLimit-Tokens-Reset", "X-Litellm-Key-Spend", "OpenAI-Organization", "WWW-Authenticate",
    "X-Author", "X-Monkey", "-", "_",
)  # fmt: skip


@given(st.lists(st.tuples(NAMES, VALUES), max_size=12))
def test_ordinary_headers_are_kept_as_text(fields: list[tuple[bytes, bytes]]) -> None:
    assert strip_headers(fields) == tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in fields)


@pytest.mark.parametrize("name", SECRET)
def test_credential_headers_are_stripped_in_any_case(name: str) -> None:
    sent = name.encode()
    fields = [(b"A", b"1"), (sent, b"secret"), (sent.upper(), b""), (sent.lower(), b"\xff"), (b"B", b"2")]
    assert [value for _, value in strip_headers(fields)] == ["1", STRIPPED, STRIPPED, STRIPPED, "2"]


@pytest.mark.parametrize("name", HARMLESS)
def test_other_headers_are_kept(name: str) -> None:
    assert strip_headers([(name.encode(), b"value")]) == ((name, "value"),)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("lgw_proj_abc", STRIPPED),
        ("sk-or-v1-0123456789", STRIPPED),
        ("token=sk-ant-api03-x; a=b", STRIPPED),
        ("openai-insecure-api-key.sk-12345678", STRIPPED),
        ("AIzaSyA0123456789", STRIPPED),
        ("gsk_0123456789", STRIPPED),
        ("v=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", STRIPPED),
        ("Bearer abcdefgh", STRIPPED),
        ("basic dXNlcjpwYXNz", STRIPPED),
        ("https://x.test/a?b=1&api_key=s&c=2#d", "https://x.test/a?b=1&api_key=[stripped]&c=2#d"),
        ("<https://user:pass@x.test/y>; rel=next", "<https://[stripped]@x.test/y>; rel=next"),
        ("https://x.test/?a=1#b@c", "https://x.test/?a=1#b@c"),
        ('Bearer realm="models", error="invalid_token"', 'Bearer realm="models", error="invalid_token"'),
        ("Basic text of 8 words", "Basic text of 8 words"),
        ("task-12345678", "task-12345678"),
        ("sk-short", "sk-short"),
        ("disk-full-on-host", "disk-full-on-host"),
    ],
)
def test_keys_are_found_in_headers_of_any_name(value: str, shown: str) -> None:
    fields = [(b"X-Odd", value.encode()), (b"Authorization", b"Bearer sk-abcdefghijk")]
    assert strip_headers(fields)[0][1] == shown


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/v1/models", "/v1/models"),
        ("/v1/x?key=AIza&alt=sse", "/v1/x?key=[stripped]&alt=sse"),
        (
            "/v1/x?a=1&API_KEY=s&api-key=s&token=s&access_token=s",
            "/v1/x?a=1&API_KEY=[stripped]&api-key=[stripped]&token=[stripped]&access_token=[stripped]",
        ),
        ("/v1/x?monkey=1&max_tokens=3&keys=2", "/v1/x?monkey=1&max_tokens=3&keys=2"),
        ("/v1/x?key=", "/v1/x?key=[stripped]"),
        ("/v1/x?%6Bey=s&apikey=s", "/v1/x?%6Bey=[stripped]&apikey=[stripped]"),
        ("/v1/x?a=1;key=s", "/v1/x?a=1;key=[stripped]"),
        (
            "/v1/x?subscription-key=s&sig=s&code=s",
            "/v1/x?subscription-key=[stripped]&sig=[stripped]&code=[stripped]",
        ),
        ("/v1/x?X-Amz-Security-Token=s", "/v1/x?X-Amz-Security-Token=[stripped]"),
        ("/v1/x?auth[token]=s&page_token_count=3", "/v1/x?auth[token]=[stripped]&page_token_count=[stripped]"),
        ("/v1/lgw_proj_abc/x", "/v1/[stripped]/x"),
        ("/v1/x?q=sk-or-v1-0123456789", "/v1/x?q=[stripped]"),
    ],
)
def test_keys_in_the_query_are_stripped(target: str, shown: str) -> None:
    assert strip_target(target) == shown


@pytest.mark.parametrize(
    "piece",
    ["sk-", "-eyJ", "eyJa.", "Bearer ", "bearer a", "://", "://a@", "?key=", ";a", "&" * 3, "%6b", "lgw_proj_-"],
)
def test_hostile_text_takes_no_time(piece: str) -> None:
    """On the caller's path: 64 KiB, all that a header or a target can be, in well under the 20 ms of a stall."""
    text = piece * (65536 // len(piece))
    started_s = time.process_time()
    strip_headers([(b"X", text.encode()), (b"Y", b"://" + text.encode()), (text.encode(), b"")])
    strip_target(f"/v1/x?{text}")
    assert time.process_time() - started_s < 2  # a hundredth of it is taken
