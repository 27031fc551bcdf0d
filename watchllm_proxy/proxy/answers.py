"""Answers of our own: OpenAI-shaped errors that say what to do next, as the bytes that go on the wire."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from watchllm_proxy.grants import Scope
from watchllm_proxy.records import ExchangeEnd

Lines = tuple[tuple[bytes, bytes], ...]

REQUEST_ID_HEADER = b"X-WatchLLM-Request-Id"
RUN_ID_HEADER = b"X-WatchLLM-Run-Id"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response of ours. `is_last` closes the client's connection after it."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    headers: Lines = ()
    is_last: bool = False

    def encode(self, request_id: str, *, is_head: bool = False, is_last: bool = False) -> bytes:
        """The response as bytes; `is_head` leaves the body out but keeps its length."""
        lines = [
            b"HTTP/1.1 %d %s" % (self.status, HTTPStatus(self.status).phrase.encode()),
            b"Content-Type: " + self.content_type,
            b"Content-Length: %d" % len(self.body),
            b"%s: %s" % (REQUEST_ID_HEADER, request_id.encode()),
            *(b"%s: %s" % line for line in self.headers),
        ]
        if self.is_last or is_last:
            lines.append(b"Connection: close")
        return b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if is_head else self.body)


class Refusal(Exception):
    """A request is refused: `answer` is what its client is told."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(answer.status)


def error(
    status: int,
    code: str,
    message: str,
    *,
    type: str = "invalid_request_error",
    param: str | None = None,
    headers: Lines = (),
    is_last: bool = False,
) -> Answer:
    """An OpenAI-shaped error. `message` never quotes what the client sent."""
    body = {"error": {"message": message, "type": type, "code": code, "param": param}}
    return Answer(status, json.dumps(body, ensure_ascii=False).encode(), headers=headers, is_last=is_last)


def bad_request(message: str) -> Answer:
    """400 for a request we do not pass on. The connection ends: its framing is not to be trusted."""
    return error(400, "bad_request", message, is_last=True)


BAD_SYNTAX = bad_request("This is not a well-formed HTTP/1.1 request; nothing was sent to the upstream.")
HEAD_TOO_LARGE = error(
    431,
    "request_head_too_large",
    "The request line or the headers are too large. Send fewer or shorter headers.",
    is_last=True,
)
HEAD_TIMEOUT = error(
    408, "request_timeout", "The request head did not arrive in time. Send the request again.", is_last=True
)
BODY_TIMEOUT = error(
    408, "request_timeout", "The request body stopped arriving. Send the request again.", is_last=True
)
BAD_BODY = bad_request("The framing of the request body is broken. Send the request again.")
NO_METHOD = error(
    405,
    "method_not_allowed",
    "This method is not served here. Use GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS.",
    headers=((b"Allow", b"GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"),),
    is_last=True,
)
ONLY_READ = error(
    405,
    "method_not_allowed",
    "This address can only be read. Use GET or HEAD.",
    headers=((b"Allow", b"GET, HEAD"),),
    is_last=True,
)
NO_UPGRADE = error(
    501,
    "upgrade_not_supported",
    "WebSockets and other protocol upgrades are not supported. Use the HTTP API, with `stream: true` for streams.",
    is_last=True,
)
NO_EXPECTATION = error(
    417, "expectation_failed", "Only `Expect: 100-continue` is understood. Leave the header out.", is_last=True
)
NOT_AVAILABLE = error(
    501,
    "not_available",
    "Traces (OTLP) are not taken in this version. Report runs to /v1/agent-runs, events to /v1/events/batch, or "
    "send model calls through this proxy: they are captured as they pass.",
    type="api_error",
    is_last=True,
)
NOT_JSON = error(415, "unsupported_media_type", "Send the body as `Content-Type: application/json`.", is_last=True)
NOT_COMPRESSED = error(
    415, "unsupported_content_encoding", "Send the body as it is, without a Content-Encoding.", is_last=True
)
NO_MEMORY_FOR_REPORTS = error(
    503,
    "too_many_reports_in_flight",
    "More is being reported than fits into memory; nothing of this report was kept. Send it again shortly.",
    type="api_error",
    headers=((b"Retry-After", b"1"),),
    is_last=True,
)
INTERNAL = error(
    500,
    "internal_error",
    "The proxy failed on this request; nothing is wrong with it. Try again, and report the request id.",
    type="api_error",
    is_last=True,
)
BUSY = error(
    503,
    "too_many_requests_in_flight",
    "The proxy is at its limit of requests under way. Try again shortly, or raise WATCHLLM_MAX_REQUESTS.",
    type="api_error",
    headers=((b"Retry-After", b"1"),),
)
STOPPING = error(
    503,
    "stopping",
    "The proxy is stopping. Try again shortly.",
    type="api_error",
    headers=((b"Retry-After", b"1"),),
    is_last=True,
)
NO_CONSOLE = error(
    404,
    "not_found",
    "There is nothing at this path: this proxy runs without a console. "
    "Model calls go to /v1/…; start the dashboard with `watchllm up` or `watchllm console`.",
)
BAD_KEY = error(
    401,
    "invalid_api_key",
    "This project key is not valid here. Check it for typing errors, or ask who runs this proxy.",
    type="authentication_error",
)
TOO_MANY_GUESSES = error(
    429,
    "too_many_invalid_keys",
    "Too many project keys that are not valid here came from this address: no new one is looked at for a while. "
    "Keys in use keep working. Correct the key, and try again.",
    type="authentication_error",
    headers=((b"Retry-After", b"5"),),
)
NO_KEY = error(
    401,
    "missing_api_key",
    "No project key was sent. Send `Authorization: Bearer lgw_proj_…`, or `X-WatchLLM-Key: lgw_proj_…` beside "
    "your own key. (WATCHLLM_ALLOW_ANONYMOUS=on lets calls pass without one.)",
    type="authentication_error",
)
NO_PROVIDER_KEY = error(
    401,
    "no_provider_key",
    "The project key is valid, but there is no provider key to put in its place. Set one for the project, or set "
    "WATCHLLM_UPSTREAM_API_KEY, or send your own key with the project key in X-WatchLLM-Key.",
    type="authentication_error",
)
SEALED_PROVIDER_KEY = error(
    503,
    "provider_key_unreadable",
    "The project's provider key cannot be opened: it was sealed with another WATCHLLM_SECRET_KEY than this proxy "
    "has. Whoever runs the proxy sets the former one beside the new one, or sets the provider key anew.",
    type="api_error",
    headers=((b"Retry-After", b"60"),),
)
MISSING_SCOPE = {
    scope: error(
        403,
        f"{scope}_scope_required",
        f"This key is valid, but does not have the scope `{scope}` that this needs. "
        f"Use a key that has it (`watchllm keys create --scope {scope}`).",
        type="permission_error",
    )
    for scope in Scope
}
PROJECT_BUSY = error(
    429,
    "too_many_requests_of_project",
    "Too many requests of this project are under way: other projects have their share of the places. "
    "Try again shortly.",
    type="rate_limit_error",
    headers=((b"Retry-After", b"1"),),
)
KEYS_DISAGREE = bad_request("Two different project keys were sent. Send one.")
STRAY_KEY = bad_request(
    "A project key (lgw_proj_…) was sent where it would reach the upstream; nothing was sent there. "
    "Send it as `Authorization: Bearer lgw_proj_…`, or in X-WatchLLM-Key beside your own key."
)


def body_too_large(limit_bytes: int) -> Answer:
    return error(
        413,
        "request_too_large",
        f"The request body is over the limit of {limit_bytes} bytes. Send less, or raise WATCHLLM_MAX_BODY_BYTES.",
        is_last=True,
    )


def rate_limited(allowed: Mapping[str, int], wait_s: float) -> Answer:
    """`allowed`: requests a minute of whose limits hold for the call, one of which is reached."""
    limits = " or ".join(
        f"this {whose} may send ({per_minute:,} a minute)" for whose, per_minute in allowed.items()
    )
    return error(
        429,
        "rate_limit_exceeded",
        f"More requests were sent than {limits}. Send them more slowly; the next one may pass in {wait_s:.1f} s.",
        type="rate_limit_error",
        headers=((b"Retry-After", b"%d" % max(1, math.ceil(wait_s))),),
    )


def month_used_up(code: str, message: str, resets_at: str, wait_s: int) -> Answer:
    """What there is for this month is used up. `resets_at`: when the next one begins, RFC 3339."""
    return error(
        429,
        code,
        f"{message} The next month begins at {resets_at}.",
        type="rate_limit_error",
        headers=((b"Retry-After", b"%d" % wait_s),),
    )


def report_too_large(limit_bytes: int) -> Answer:
    return error(
        413,
        "report_too_large",
        f"A report has at most {limit_bytes} bytes; nothing of this one was kept. Send it in several parts.",
        is_last=True,
    )


def html(status: int, title: str, text: str) -> Answer:
    """A page for a person. `title` and `text` are ours, never a client's."""
    page = f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><p>{text}</p>\n"
    return Answer(status, page.encode(), b"text/html; charset=utf-8")


# --- the upstream or the console failed ---------------------------------------------------------------

_UNREACHABLE = error(
    502,
    "upstream_unreachable",
    "The upstream cannot be reached. Check WATCHLLM_UPSTREAM_URL and the network (`watchllm doctor` does), "
    "then try again.",
    type="upstream_error",
)
_INVALID = error(
    502,
    "upstream_invalid_response",
    "The upstream did not answer with valid HTTP. Try again.",
    type="upstream_error",
)
_TIMEOUT = error(
    504,
    "upstream_timeout",
    "The upstream did not answer in time. Try again, or raise WATCHLLM_FIRST_BYTE_TIMEOUT_S.",
    type="upstream_error",
)
_UPSTREAM_FAILURES = {
    ExchangeEnd.UPSTREAM_UNREACHABLE: _UNREACHABLE,
    ExchangeEnd.UPSTREAM_TIMEOUT: _TIMEOUT,
    ExchangeEnd.UPSTREAM_STALLED: _TIMEOUT,
}


def upstream_failure(end: ExchangeEnd) -> Answer:
    """What a client is told whose upstream ended the exchange before its answer began."""
    return _UPSTREAM_FAILURES.get(end, _INVALID)


_CONSOLE_AWAY = "The dashboard is starting or has stopped. Model calls pass all the same, and are captured."
_NO_CONSOLE_PAGE = html(502, "The dashboard is away", _CONSOLE_AWAY + " Reload this page in a moment.")
_NO_CONSOLE_JSON = error(502, "console_unreachable", _CONSOLE_AWAY + " Try again in a moment.", type="api_error")


def console_page_failure(end: ExchangeEnd) -> Answer:
    """What a browser is shown while the console is away, however it is away."""
    return _NO_CONSOLE_PAGE


def console_failure(end: ExchangeEnd) -> Answer:
    """The same for programs."""
    return _NO_CONSOLE_JSON
