"""What stands before and after every handler: the Host allow-list, security headers, and errors made readable."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from watchllm_proxy.console.answers import BadParameter, error_answer
from watchllm_proxy.console.context import SETTINGS
from watchllm_proxy.console.html import render_message
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.settings import Settings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
RETRY_AFTER_S = 5

# The host is printed into a line that people paste into a shell: nothing but host characters may pass.
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")


def is_host_allowed(host: str, settings: Settings) -> bool:
    """Whether a request for `host` is meant for us.

    Listening on loopback, only loopback names and the configured one are ours: a page elsewhere whose name is
    rebound to 127.0.0.1 would otherwise read every captured prompt (faults.md 61). Else any well-formed host is.
    """
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match["name"].strip("[]").lower()
    if not settings.is_loopback or name in {"localhost", settings.host.lower()}:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _wants_json(request: web.Request) -> bool:
    path = request.path
    return path.startswith("/api/") or path.endswith(".json") or "/steps" in path or "text/html" not in (
        request.headers.get(hdrs.ACCEPT, "text/html")
    )


_ERROR_TYPES = {401: "authentication_error", 404: "not_found_error", 405: "invalid_request_error"}
_CODES = {401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed", 421: "wrong_host"}


def _refuse(request: web.Request, status: int, message: str, *, headers: dict[str, str] | None = None) -> web.Response:
    if _wants_json(request):
        type = _ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
        return error_answer(status, message, type=type, code=_CODES.get(status), headers=headers)
    return render_message(request, status, message, headers=headers)


NOT_FOUND = "There is no such thing here, or it belongs to another project. GET /api/agent-runs lists your runs."


@web.middleware
async def readable_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error becomes an OpenAI-shaped body for programs and a page for people."""
    try:
        return await handler(request)
    except BadParameter as exc:
        if _wants_json(request):
            return error_answer(
                422, str(exc), type="invalid_request_error", code="invalid_parameter", param=exc.name
            )
        return render_message(request, 422, str(exc))
    except StoreUnavailable as exc:
        message = f"The store cannot be read now ({exc}). Requests to your model still pass. Try again in {RETRY_AFTER_S} s."
        return _refuse(request, 503, message, headers={"Retry-After": str(RETRY_AFTER_S)})
    except web.HTTPNotFound:
        return _refuse(request, 404, NOT_FOUND)
    except web.HTTPMethodNotAllowed as exc:
        allowed = ", ".join(sorted(exc.allowed_methods))
        return _refuse(request, 405, f"This address answers {allowed}.", headers={"Allow": allowed})
    except web.HTTPUnauthorized as exc:
        return _refuse(request, 401, exc.text or "", headers={"WWW-Authenticate": "Bearer"})


@web.middleware
async def own_host_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    host = request.headers.get(hdrs.HOST, "")
    if not is_host_allowed(host, request.app[SETTINGS]):
        return error_answer(
            421,
            "This console answers only for the address it listens on. Open it as http://127.0.0.1 or "
            "http://localhost with its port, or set WATCHLLM_HOST.",
            type="invalid_request_error",
            code="wrong_host",
        )
    return await handler(request)


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Runs for every answer, errors of aiohttp included. Captured data is never left in a cache."""
    for name, value in SECURITY_HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    response.headers.popall(hdrs.SERVER, None)
