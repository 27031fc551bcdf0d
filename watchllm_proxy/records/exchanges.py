"""Exchange: one HTTP request and its answer as bytes, as the proxy saw them."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from watchllm_proxy.records.frozen import record

DEFAULT_PROJECT_ID = "default"


class ExchangeEnd(StrEnum):
    """How an exchange ended, seen from the proxy. Exactly one applies."""

    COMPLETE = "complete"  # the upstream's answer was read to its end and passed on
    CLIENT_ABORTED = "client_aborted"  # the client left first; bytes so far are kept
    UPSTREAM_UNREACHABLE = "upstream_unreachable"  # no connection; the client got our 502
    UPSTREAM_TIMEOUT = "upstream_timeout"  # no response headers in time; the client got our 504
    UPSTREAM_INVALID = "upstream_invalid"  # unparseable response head; the client got our 502
    UPSTREAM_STALLED = "upstream_stalled"  # silent mid-answer past the idle limit; cut
    UPSTREAM_BROKEN = "upstream_broken"  # connection lost or bad framing mid-answer; cut


Headers = tuple[tuple[str, str], ...]
"""Header fields in the order and case they arrived in, repeats kept, latin-1 decoded."""


@record
class Body:
    """What is kept of one message body.

    `content` holds the body as it was on the wire after transfer decoding (content encoding such as
    gzip still applied). It is cut at the capture limit: then `size_bytes > len(content)`, and
    `sha256` (hex) is that of the whole body. `sha256` is None when the body is whole.

    Of a request that was answered, or given up, before all of it had come, `content` is what came (`is_partial`);
    `size_bytes` is what its Content-Length announced or, where it had none, what came; `sha256` is None.
    """

    content: bytes
    size_bytes: int
    sha256: str | None = None
    is_partial: bool = False

    @property
    def is_truncated(self) -> bool:
        return self.is_partial or self.size_bytes > len(self.content)


@record
class Exchange:
    """One HTTP request and its answer. Credentials are already stripped from headers and target."""

    exchange_id: UUID
    project_id: str
    method: str
    target: str  # origin-form: path and query as sent, e.g. /v1/chat/completions?x=1
    request_headers: Headers  # as received, X-Run-Id and friends included; credentials replaced by "[stripped]"
    request_body: Body
    status: int | None  # None: no response head came (our own 502/504 is told by `end`)
    response_headers: Headers
    response_body: Body
    end: ExchangeEnd
    started_at_us: int  # wall clock when the request head was read
    first_byte_us: int | None  # from start to the first response body byte, monotonic
    duration_us: int  # from start to the end of the exchange, monotonic
    client_address: str  # "ip:port" of the client's connection: same value, same connection
    error_detail: str | None = None  # short text for ends other than COMPLETE; never a body, never a key

    @property
    def ended_at_us(self) -> int:
        return self.started_at_us + self.duration_us
