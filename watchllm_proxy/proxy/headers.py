"""Header fields: which of a request go upstream, which of an answer go to the client, byte for byte.

Hop-by-hop fields (RFC 9110 section 7.6.1) and our own end here; everything else keeps its order, case and
repeats. Requests that two parsers could read in two ways are refused before anything goes upstream.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from watchllm_proxy.grants import SESSION_COOKIE
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
        b"traceparent",  # leaks internal ids
        b"tracestate",
    )
)
OUR_PREFIX = b"x-watchllm-"

FORWARDED_BY = frozenset((b"forwarded", b"x-real-ip"))
FORWARDED_BY_PREFIX = b"x-forwarded-"

DOCUMENTS = frozenset((b"document", b"iframe", b"frame", b"embed", b"object"))
"""What a browser says that it will show an answer as (`Sec-Fetch-Dest`), so that scripts in it would run."""

_SESSION_COOKIE = SESSION_COOKIE.encode()

MAX_RUN_ID_CHARACTERS = 200

MAX_LENGTH_DIGITS = 20
"""Of a Content-Length: as many as 64 bits fill. llhttp lets any number of zeros pass, `int` 4,300 digits."""


class _Kind(Enum):
    PLAIN = auto()
    BAD = auto()
    HOP_BY_HOP = auto()
    CONNECTION = auto()
    OURS = auto()
    FORWARDED_BY = auto()
    COOKIE = auto()
    # those that may come once:
    FRAMING = auto()
    CREDENTIAL = auto()
    OWN_KEY = auto()
    RUN_ID = auto()
    UPGRADE = auto()
    EXPECT = auto()
    DESTINATION = auto()


_KINDS: dict[bytes, _Kind] = {
    **dict.fromkeys((*HOP_BY_HOP, b"trailer"), _Kind.HOP_BY_HOP),
    **dict.fromkeys(OURS, _Kind.OURS),
    **dict.fromkeys(FORWARDED_BY, _Kind.FORWARDED_BY),
    **dict.fromkeys((b"content-length", b"transfer-encoding", b"host"), _Kind.FRAMING),
    **dict.fromkeys(KEY_HEADERS, _Kind.CREDENTIAL),
    OWN_KEY_HEADER: _Kind.OWN_KEY,
    b"x-run-id": _Kind.RUN_ID,
    b"connection": _Kind.CONNECTION,
    b"cookie": _Kind.COOKIE,
    b"upgrade": _Kind.UPGRADE,
    b"expect": _Kind.EXPECT,
    b"sec-fetch-dest": _Kind.DESTINATION,
}

_FORWARDED_ONCE = frozenset((_Kind.FRAMING, _Kind.CREDENTIAL, _Kind.DESTINATION))

MAX_REMEMBERED_BYTES = 64
"""Longer header names are not worth the memory."""


def _read_kind(name: bytes) -> tuple[bytes, _Kind]:
    lower = name.lower()
    kind = _KINDS.get(lower, _Kind.PLAIN)
    if kind is _Kind.PLAIN:
        if not name.isascii():
            kind = _Kind.BAD
        elif lower.startswith(OUR_PREFIX):
            kind = _Kind.OURS
        elif lower.startswith(FORWARDED_BY_PREFIX):
            kind = _Kind.FORWARDED_BY
    return lower, kind


_known_kind = functools.lru_cache(1024)(_read_kind)


@dataclass(slots=True)
class RequestHead:
    """A request's headers, read once."""

    fields: list[Field]  # to forward, `Host`, length and transfer coding among them
    credentials: dict[bytes, bytes]  # lower-case name to value
    places: dict[bytes, int]  # where in `fields` those are that may come once, by lower-case name
    content_length: int | None = None
    is_chunked: bool = False
    expects_continue: bool = False
    run_id: bytes | None = None  # as sent, if it is fit to be echoed
    is_for_page: bool = False  # a browser will show the answer


def read_request_head(fields: Iterable[Field], *, is_http_10: bool, for_console: bool = False) -> RequestHead:
    """Sort a request's headers. Raises `Refusal` for what must not go further.

    An upstream gets none of our own headers, nor a session of the dashboard. The console gets them all, but
    nothing by which a client could pose as a proxy in front of us.
    """
    head = RequestHead([], {}, {})
    kept = head.fields
    seen: set[bytes] = set()
    named: set[bytes] = set()
    dropped = _Kind.FORWARDED_BY if for_console else _Kind.OURS
    for field in fields:
        name, value = field
        lower, kind = _known_kind(name) if len(name) <= MAX_REMEMBERED_BYTES else _read_kind(name)
        if kind is _Kind.PLAIN:
            kept.append(field)
        elif kind is _Kind.OURS or kind is _Kind.FORWARDED_BY:
            if kind is not dropped:
                kept.append(field)
        elif kind is _Kind.CONNECTION:
            named |= _tokens(value)
        elif kind is _Kind.COOKIE:
            kept += [field] if for_console else _without_session(field)
        elif kind is _Kind.BAD:
            raise Refusal(bad_request("A header name holds bytes outside ASCII."))
        elif kind is not _Kind.HOP_BY_HOP:
            if lower in seen:
                raise Refusal(bad_request(f"The {lower.decode()} header was sent twice. Send it once."))
            seen.add(lower)
            is_kept = _read_special(head, kind, lower, value, is_http_10=is_http_10)
            if is_kept or (for_console and kind is not _Kind.EXPECT):
                head.places[lower] = len(kept)
                kept.append(field)
    if head.is_chunked and head.content_length is not None:
        raise Refusal(bad_request("Content-Length and Transfer-Encoding were both sent. Send one."))
    named -= KEPT_IF_NAMED
    if named:
        _drop_named(head, named)
    return head


def _without_session(cookies: Field) -> list[Field]:
    """The header without the session of a person at the dashboard; nothing, where it held nothing else."""
    name, value = cookies
    if _SESSION_COOKIE not in value:
        return [cookies]
    pairs = (pair.strip() for pair in value.split(b";"))
    kept = b"; ".join(pair for pair in pairs if pair and pair.partition(b"=")[0].rstrip() != _SESSION_COOKIE)
    return [(name, kept)] if kept else []


def _is_session(cookie: bytes) -> bool:
    """What a browser would send back as the session. One without a name it sends as its value alone."""
    return cookie.lstrip(b" \t=").partition(b"=")[0].rstrip(b" \t") == _SESSION_COOKIE


def _drop_named(head: RequestHead, named: set[bytes]) -> None:
    """Take out the headers that `Connection` names."""
    head.fields = [field for field in head.fields if field[0].lower() not in named]
    lowers = [name.lower() for name, _ in head.fields]
    head.places = {lower: lowers.index(lower) for lower in head.places if lower in lowers}


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
    elif kind is _Kind.DESTINATION:
        head.is_for_page = value.lower() in DOCUMENTS
    elif kind is _Kind.OWN_KEY or kind is _Kind.CREDENTIAL:
        head.credentials[lower] = value
    elif lower == b"content-length":
        if not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
            raise Refusal(bad_request("Content-Length is not a number of bytes."))
        head.content_length = int(value)
    elif lower == b"transfer-encoding":
        if is_http_10 or value.lower() != b"chunked":
            raise Refusal(bad_request("The only transfer coding understood is “chunked”, in HTTP/1.1."))
        head.is_chunked = True
    return kind in _FORWARDED_ONCE


def is_echoable(run_id: bytes) -> bool:
    """1 to 200 printable ASCII characters: safe to send back in a header."""
    return 0 < len(run_id) <= MAX_RUN_ID_CHARACTERS and run_id.isascii() and run_id.decode().isprintable()


def _tokens(value: bytes) -> set[bytes]:
    return {token.strip().lower() for token in value.split(b",") if token.strip()}


def encode_request(
    method: str, target: bytes, head: RequestHead, *, host: bytes, replaced: Mapping[bytes, bytes]
) -> bytes:
    """The request head as bytes, with `host` and the `replaced` credentials in their places."""
    fields = head.fields
    for lower, value in replaced.items():
        place = head.places.get(lower)
        if place is not None:
            fields[place] = (fields[place][0], value)
    place = head.places.get(b"host")
    if place is None:
        fields.insert(0, (b"Host", host))
    else:
        fields[place] = (fields[place][0], host)
    lines = [name + b": " + value for name, value in fields]
    return b"%s %s HTTP/1.1\r\n%s\r\n\r\n" % (method.encode("ascii"), target, b"\r\n".join(lines))


def encode_response(
    status: int, reason: bytes, fields: list[Field], *, own: Iterable[Field] = (), from_console: bool = False
) -> bytes:
    """The head for the client: `fields` without the hop-by-hop ones and those `Connection` names, then `own`.

    Only the console opens sessions of the dashboard: an upstream, of the same host, could make somebody work in
    one of its choice.
    """
    lines = [b"HTTP/1.1 %d %s" % (status, reason)]
    named: set[bytes] = set()
    for name, value in fields:
        lower = name.lower()
        if lower == b"connection":
            named |= _tokens(value)
        elif lower == b"set-cookie" and not from_console and _is_session(value):
            continue
        elif lower not in HOP_BY_HOP:
            lines.append(name + b": " + value)
    named -= KEPT_IF_NAMED
    if named:
        lines[1:] = [line for line in lines[1:] if line.partition(b":")[0].lower() not in named]
    lines += [name + b": " + value for name, value in own]
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def is_event_stream(fields: list[Field]) -> bool:
    types = (value for name, value in fields if name.lower() == b"content-type")
    return any(value.lower().startswith(b"text/event-stream") for value in types)
