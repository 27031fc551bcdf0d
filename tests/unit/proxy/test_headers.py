"""Which header fields pass, which end here, and which requests are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.proxy.answers import Refusal
from watchllm_proxy.proxy.headers import (
    HOP_BY_HOP,
    OUR_PREFIX,
    OURS,
    Field,
    encode_request,
    encode_response,
    is_echoable,
    read_request_head,
)

TOKENS = st.text("abcXYZ-019_!~", min_size=1, max_size=80).map(str.encode)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20).map(
    lambda text: text.strip().encode("latin-1")
)
SPECIAL = {
    b"host",
    b"content-length",
    b"expect",
    b"x-run-id",
    b"authorization",
    b"x-api-key",
    b"api-key",
    b"trailer",
}


@given(st.lists(st.tuples(TOKENS, VALUES), max_size=20))
def test_ordinary_fields_pass_in_order_case_and_number(fields: list[Field]) -> None:
    ordinary = [one for one in fields if one[0].lower() not in SPECIAL | HOP_BY_HOP | OURS]
    assert not any(name.lower().startswith(OUR_PREFIX) for name, _ in ordinary)
    head = read_request_head([(b"Host", b"a"), *fields], is_http_10=False)
    assert head.fields[1:] == ordinary
    sent = encode_request("GET", b"/x", head, host=b"up", replaced={})
    assert sent == b"GET /x HTTP/1.1\r\nHost: up\r\n" + b"".join(b"%s: %s\r\n" % one for one in ordinary) + b"\r\n"


def test_host_and_keys_are_replaced_where_they_stood() -> None:
    fields = [
        (b"X-A", b"1"),
        (b"AUTHORIZATION", b"Bearer lgw"),
        (b"x-b", b"2"),
        (b"host", b"proxy"),
        (b"X-A", b"3"),
    ]
    head = read_request_head(fields, is_http_10=False)
    sent = encode_request("GET", b"/x", head, host=b"up", replaced={b"authorization": b"Bearer sk"})
    assert sent == b"GET /x HTTP/1.1\r\nX-A: 1\r\nAUTHORIZATION: Bearer sk\r\nx-b: 2\r\nhost: up\r\nX-A: 3\r\n\r\n"


def test_what_connection_names_is_dropped_and_the_places_still_fit() -> None:
    fields = [
        (b"X-Hop", b"1"),
        (b"Connection", b"close, x-hop ,Content-Length"),
        (b"Host", b"a"),
        (b"Content-Length", b"3"),
    ]
    head = read_request_head(fields, is_http_10=False)
    sent = encode_request("POST", b"/x", head, host=b"up", replaced={})
    assert sent == b"POST /x HTTP/1.1\r\nHost: up\r\nContent-Length: 3\r\n\r\n", "framing cannot be named away"


def test_a_named_credential_is_dropped_and_not_replaced() -> None:
    fields = [(b"Authorization", b"Bearer x"), (b"Connection", b"authorization"), (b"Host", b"a")]
    head = read_request_head(fields, is_http_10=False)
    assert b"uthorization" not in encode_request("GET", b"/", head, host=b"up", replaced={b"authorization": b"y"})


@pytest.mark.parametrize(
    ("cookies", "upstream"),
    [
        (b"watchllm_session=secret", None),
        (b" watchllm_session = secret;", None),
        (b"a=1; watchllm_session=secret; b=2", b"a=1; b=2"),
        (b"a=watchllm_session; my_watchllm_session=1", b"a=watchllm_session; my_watchllm_session=1"),
        (b"a=1;b=2", b"a=1;b=2"),
    ],
)
def test_the_session_of_the_dashboard_goes_to_the_console_alone(cookies: bytes, upstream: bytes | None) -> None:
    """A browser sends it along when somebody who is logged in opens /v1/models: the host is the same."""
    sent = [(b"Cookie", cookies), (b"X", b"1")]
    expected = [(b"X", b"1")] if upstream is None else [(b"Cookie", upstream), (b"X", b"1")]
    assert read_request_head(sent, is_http_10=False).fields == expected
    assert read_request_head(sent, is_http_10=False, for_console=True).fields == sent


@pytest.mark.parametrize(
    ("cookie", "passes"),
    [
        (b"watchllm_session=evil; Path=/", False),
        (b"\twatchllm_session =evil", False),
        (b"=watchllm_session=evil", False),
        (b"watchllm_session", False),
        (b"my_watchllm_session=1", True),
        (b"a=watchllm_session=1", True),
    ],
)
def test_only_the_console_sets_a_session_of_the_dashboard(cookie: bytes, passes: bool) -> None:
    """A browser would send it to the dashboard, which is of the same host."""
    fields = [(b"Set-Cookie", cookie), (b"Set-Cookie", b"b=2")]
    line = b"Set-Cookie: %s\r\n" % cookie
    assert (line in encode_response(200, b"OK", fields)) is passes
    assert line in encode_response(200, b"OK", fields, from_console=True)
    assert b"Set-Cookie: b=2\r\n" in encode_response(200, b"OK", fields)


def test_a_missing_host_is_put_first() -> None:
    head = read_request_head([(b"X", b"1")], is_http_10=True)
    assert (
        encode_request("GET", b"/x", head, host=b"up", replaced={})
        == b"GET /x HTTP/1.1\r\nHost: up\r\nX: 1\r\n\r\n"
    )


@pytest.mark.parametrize(
    "name", sorted({*OURS, *HOP_BY_HOP, b"trailer", b"x-watchllm-anything"} - {b"connection"})
)
def test_ours_and_hop_by_hop_fields_end_here(name: bytes) -> None:
    value = {b"transfer-encoding": b"chunked"}.get(name, b"1")
    if name == b"upgrade":
        with pytest.raises(Refusal):
            read_request_head([(name, value)], is_http_10=False)
        return
    head = read_request_head([(name.title(), value)], is_http_10=False)
    assert head.fields == ([(b"Transfer-Encoding", b"chunked")] if name == b"transfer-encoding" else [])


@pytest.mark.parametrize(
    "name",
    [b"Host", b"Content-Length", b"Authorization", b"x-api-key", b"api-key", b"X-WatchLLM-Key", b"X-Run-Id"],
)
def test_what_may_come_once_is_refused_twice(name: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        read_request_head([(name, b"3"), (b"X", b"1"), (name.swapcase(), b"3")], is_http_10=False)
    assert refused.value.answer.status == 400


@pytest.mark.parametrize("value", [b"gzip", b"chunked, chunked", b"identity", b"x", b""])
def test_other_transfer_codings_are_refused(value: bytes) -> None:
    with pytest.raises(Refusal):
        read_request_head([(b"Transfer-Encoding", value)], is_http_10=False)


def test_a_length_beside_a_coding_is_refused() -> None:
    with pytest.raises(Refusal):
        read_request_head([(b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked")], is_http_10=False)


@pytest.mark.parametrize(
    ("run_id", "is_fit"),
    [
        (b"r", True),
        (b"run 7/a", True),
        (b"x" * 200, True),
        (b"x" * 201, False),
        (b"", False),
        (b"\xe9", False),
        (b"a\tb", False),
    ],
)
def test_a_run_id_is_echoed_only_if_it_is_short_and_printable(run_id: bytes, is_fit: bool) -> None:
    assert is_echoable(run_id) is is_fit
    head = read_request_head([(b"X-Run-Id", run_id)], is_http_10=False)
    assert head.run_id == (run_id if is_fit else None)


def test_an_answer_loses_hop_by_hop_fields_only() -> None:
    fields = [
        (b"b", b"1"),
        (b"Connection", b"b, Content-Length"),
        (b"Content-Length", b"0"),
        (b"Te", b"x"),
        (b"A", b"\xff"),
    ]
    sent = encode_response(200, b"OK \xe9", fields, own=[(b"X", b"y")])
    assert sent == b"HTTP/1.1 200 OK \xe9\r\nContent-Length: 0\r\nA: \xff\r\nX: y\r\n\r\n"
