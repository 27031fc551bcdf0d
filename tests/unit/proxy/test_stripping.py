"""No credential gets into a capture."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.proxy.stripping import CREDENTIAL_HEADERS, STRIPPED, strip_headers, strip_target

NAMES = st.text("abcXYZ-", min_size=1, max_size=70).map(str.encode)
VALUES = st.text("abc \xe9\xff,;=", max_size=20).map(lambda text: text.encode("latin-1"))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=12))
def test_ordinary_headers_are_kept_as_text(fields: list[tuple[bytes, bytes]]) -> None:
    fields = [one for one in fields if one[0].lower() not in CREDENTIAL_HEADERS]
    assert strip_headers(fields) == tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in fields)


@pytest.mark.parametrize("name", sorted(CREDENTIAL_HEADERS))
def test_credential_headers_are_stripped_in_any_case(name: bytes) -> None:
    fields = [(b"A", b"1"), (name.title(), b"secret"), (name.upper(), b""), (b"B", b"2")]
    assert [value for _, value in strip_headers(fields)] == ["1", STRIPPED, STRIPPED, "2"]


@pytest.mark.parametrize(
    ("value", "is_key"),
    [
        (b"lgw_proj_abc", True),
        (b"sk-or-v1-0123456789", True),
        (b"token=sk-ant-api03-x; a=b", True),
        (b"openai-insecure-api-key.sk-12345678", True),
        (b"task-12345678", False),
        (b"sk-short", False),
        (b"disk-full-on-host", False),
    ],
)
def test_keys_are_found_in_headers_of_any_name(value: bytes, is_key: bool) -> None:
    fields = [(b"Sec-WebSocket-Protocol", value), (b"Authorization", b"Bearer sk-abcdefghijk")]
    assert strip_headers(fields)[0][1] == (STRIPPED if is_key else value.decode())


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
        ("/v1/x?q=sk-or-v1-0123456789", "/v1/x?q=[stripped]"),
    ],
)
def test_keys_in_the_query_are_stripped(target: str, shown: str) -> None:
    assert strip_target(target) == shown
