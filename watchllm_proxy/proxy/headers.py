"""Header fields: which of a request go upstream, which of an answer go to the client, byte for byte.

Hop-by-hop fields (RFC 9110 section 7.6.1) and our own end here; everything else keeps its order, case and
repeats. Requests that two parsers could read in two ways are refused before anything goes upstream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from watchllm_proxy.proxy import answers
from watchllm_proxy.proxy.answers import Refusal, bad_request
from watchllm_proxy.proxy.auth import KEY_HEADERS, OWN_KEY_HEADER

Field = tuple[bytes, bytes]

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)

KEPT_IF_NAMED = frozenset((b"close", b"keep-alive", b"host", b"content-length", b"transfer-encoding"))
"""`Connection` names options as well as headers, and must not take away what frames a message."""

OURS = frozenset(
    (
        b"x-run-id",
        b"x-session-id",
        b"x-parent-run-id",
        b"x-agent-name",
        b"x-agent-version",
        b"x-user-id",
        b"traceparent",  # ids.md: it leaks internal ids
        b"tracestate",
    )
)
OUR_PREFIX = b"x-watchllm-"

FORWARDED_BY = frozenset((b"forwarded", b"x-real-ip"))
FORWARDED_BY_PREFIX = b"x-forwarded-"

MAX_RUN_ID_CHARACTERS = 200


class _Kind(Enum):
    DROPPED = auto()
    OURS = auto()
    FRAMING = auto()  # read by us, and kept
    CREDENTIAL = auto()
    OWN_KEY = auto()
    RUN_ID = auto()
    CONNECTION = auto()
    UPGRADE = auto()
    EXPECT = auto()


_KINDS: dict[bytes, _Kind] = {
    **dict.fromkeys((*HOP_BY_HOP, b"trailer"), _Kind.DROPPED),
    **dict.fromkeys(OURS, _Kind.OURS),
    **dict.fromkeys((b"content-length", b"transfer-encoding", b"host"), _Kind.FRAMING),
    **dict.fromkeys(KEY_HEADERS, _Kind.CREDENTIAL),
    OWN_KEY_HEADER: _Kind.OWN_KEY,
    b"x-run-id": _Kind.RUN_ID,
    b"connection": _Kind.CONNECTION,
    b"upgrade": _Kind.UPGRADE,
    b"expect": _Kind.EXPECT,
}


@dataclass(slots=True)
class RequestHead:
    """A request's headers, read once."""

    fields: list[Field]  # to forward, `Host`, length and transfer coding among them
    credentials: dict[bytes, bytes]  # lower-case name to value
    content_length: int | None = None
    is_chunked: bool = False
    expects_continue: bool = False
    run_id: bytes | None = None  # as sent, if it is fit to be echoed


def read_request_head(fields: Iterable[Field], *, is_http_10: bool, for_console: bool = False) -> RequestHead:
    """Sort a request's headers. Raises `Refusal` for what must not go further (faults.md M8).

    An upstream gets none of our own headers. The console gets them all, but nothing by which a client could
    pose as a proxy in front of us.
    """
    head = RequestHead([], {})
    seen: set[bytes] = set()
    named: set[bytes] = set()
    for name, value in fields:
        lower = name.lower()
        kind = _KINDS.get(lower)
        if kind is None:
            if not name.isascii():
                raise Refusal(bad_request("A header name holds bytes outside ASCII."))
            if not (_is_forwarded_by(lower) if for_console else lower.startswith(OUR_PREFIX)):
                head.fields.append((name, value))
        elif kind is _Kind.OURS:
            if for_console:
                head.fields.append((name, value))
        elif kind is _Kind.CONNECTION:
            named |= _tokens(value)
        elif kind is not _Kind.DROPPED:
            if lower in seen:
                raise Refusal(bad_request(f"The {lower.decode()} header was sent twice. Send it once."))
            seen.add(lower)
            is_kept = _read_special(head, kind, lower, value, is_http_10=is_http_10)
            if is_kept or (for_console and kind is not _Kind.EXPECT):
                head.fields.append((name, value))
    if head.is_chunked and head.content_length is not None:
        raise Refusal(bad_request("Content-Length and Transfer-Encoding were both sent. Send one."))
    named -= KEPT_IF_NAMED
    if named:
        head.fields = [field for field in head.fields if field[0].lower() not in named]
    return head


def _read_special(head: RequestHead, kind: _Kind, lower: bytes, value: bytes, *, is_http_10: bool) -> bool:
    """Note what a header that may come once says; whether an upstream gets it."""
    if kind is _Kind.UPGRADE:
        raise Refusal(answers.NO_UPGRADE)
    if kind is _Kind.EXPECT:
        if value.lower() != b"100-continue":
            raise Refusal(answers.NO_EXPECTATION)
        head.expects_continue = not is_http_10
    elif kind is _Kind.RUN_ID:
        head.run_id = value if is_echoable(value) else None
    elif kind is _Kind.OWN_KEY or kind is _Kind.CREDENTIAL:
        head.credentials[lower] = value
    elif lower == b"content-length":
        if not value.isdigit():
            raise Refusal(bad_request("Content-Length is not a number."))
        head.content_length = int(value)
    elif lower == b"transfer-encoding":
        if is_http_10 or value.lower() != b"chunked":
            raise Refusal(bad_request("The only transfer coding understood is “chunked”, in HTTP/1.1."))
        head.is_chunked = True
    return kind is _Kind.FRAMING or kind is _Kind.CREDENTIAL


def is_echoable(run_id: bytes) -> bool:
    """1 to 200 printable ASCII characters: safe to send back in a header."""
    return 0 < len(run_id) <= MAX_RUN_ID_CHARACTERS and run_id.isascii() and run_id.decode().isprintable()


def _tokens(value: bytes) -> set[bytes]:
    return {token.strip().lower() for token in value.split(b",") if token.strip()}


def encode_request(
    method: str, target: bytes, fields: list[Field], *, host: bytes, replaced: Mapping[bytes, bytes]
) -> bytes:
    """The request head as bytes, with `host` and the `replaced` credentials in their places."""
    lines = [b"%s %s HTTP/1.1" % (method.encode("ascii"), target)]
    values = {**replaced, b"host": host}
    has_host = False
    for name, value in fields:
        lower = name.lower()
        has_host = has_host or lower == b"host"
        lines.append(name + b": " + values.get(lower, value))
    if not has_host:
        lines.insert(1, b"Host: " + host)
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def _is_forwarded_by(lower: bytes) -> bool:
    return lower in FORWARDED_BY or lower.startswith(FORWARDED_BY_PREFIX)


def encode_response(status: int, reason: bytes, fields: list[Field], *, own: Iterable[Field] = ()) -> bytes:
    """The head for the client: `fields` without the hop-by-hop ones and those `Connection` names, then `own`."""
    lines = [b"HTTP/1.1 %d %s" % (status, reason)]
    named: set[bytes] = set()
    for name, value in fields:
        lower = name.lower()
        if lower == b"connection":
            named |= _tokens(value)
        elif lower not in HOP_BY_HOP:
            lines.append(name + b": " + value)
    named -= KEPT_IF_NAMED
    if named:
        lines[1:] = [line for line in lines[1:] if line.partition(b":")[0].lower() not in named]
    lines += [name + b": " + value for name, value in own]
    lines.append(b"\r\n")
    return b"\r\n".join(lines)
