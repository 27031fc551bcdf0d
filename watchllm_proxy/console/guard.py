"""What stands before and after every handler: the Host allow-list, security headers, and errors made readable."""

from __future__ import annotations

import ipaddress
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlencode

import structlog
from aiohttp import hdrs, web

from watchllm_proxy.console.account import UpgradeRequired
from watchllm_proxy.console.answers import BadParameter, Problem, error_answer
from watchllm_proxy.console.context import NEEDED, POOL, SETTINGS, VISITOR, VISITOR_OF
from watchllm_proxy.console.html import render_message
from watchllm_proxy.console.login import must_be_own_form
from watchllm_proxy.console.pages.account import upgrade_page
from watchllm_proxy.console.pages.welcome import base_url
from watchllm_proxy.console.values import is_storable, storable_fields
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.settings import Settings

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
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
    "Referrer-Policy": "same-origin",  # with "no-referrer" a form of ours would come without its origin
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
RETRY_AFTER_S = 5
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# The host is printed into a line that people paste into a shell: nothing but host characters may pass.
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")


def is_host_allowed(host: str, settings: Settings) -> bool:
    """Whether a request for `host` is meant for us.

    Those are loopback names, the configured one, and that of WATCHLLM_PUBLIC_URL: a page elsewhere whose name is
    rebound to our address would otherwise read every captured prompt. Not on loopback, and without a public URL,
    any well-formed host is: nobody has told us our name, and nothing is read there without a key or a login.
    """
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match["name"].strip("[]").lower()
    if not settings.is_loopback and settings.public_url is None:
        return True
    if name in {"localhost", settings.host.lower(), settings.public_host}:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _wants_json(request: web.Request) -> bool:
    """Whether the asker is a program: by the address, else by what it says it accepts."""
    is_data = request.path.startswith(("/api/", "/v1/")) or request.path.endswith(".json")
    return is_data or "text/html" not in request.headers.get(hdrs.ACCEPT, "text/html")


_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    500: "server_error",
    503: "server_error",
}
_CODES = {401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
_MESSAGES = {
    401: "This key is not in force, or none was sent. Send a project key with the read scope.",
    404: "There is no such thing here, or it belongs to another project. GET /api/agent-runs lists your runs.",
    405: "This address takes another method: the Allow header names it.",
    413: "The body is too large for this address.",
    500: "This is an error of WatchLLM's own; its log says more. Requests to your model still pass.",
}
_MODEL_CALLS = re.compile(
    r"/(?:chat/completions|completions|responses|messages|embeddings|models|images|audio|files|batches)(?:/.*)?"
)
_NO_V1 = "Model calls go to /v1/…: put /v1 at the end of the base URL, as in `export OPENAI_BASE_URL={base_url}`."
_MESSAGES_FOR_PEOPLE = {404: "There is no such run or page here, or it belongs to another project."}


def _refuse(
    request: web.Request,
    status: int,
    message: str | None = None,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """An OpenAI-shaped body for programs, a page for people. A foreign id and an unknown one look the same."""
    if not _wants_json(request):
        text = message or _MESSAGES_FOR_PEOPLE.get(status) or _MESSAGES[status]
        return render_message(request, status, text, headers=headers)
    text = message or _MESSAGES[status]
    kind = _ERROR_TYPES.get(status, "invalid_request_error")
    code = code or ("invalid_parameter" if param else _CODES.get(status))
    return error_answer(status, text, type=kind, code=code, param=param, headers=headers)


def _refuse_http(request: web.Request, exc: web.HTTPException) -> web.Response:
    """What aiohttp and our handlers raise; redirects go on as they are."""
    if exc.status not in _MESSAGES:
        raise exc
    own: dict[str, str] = {}
    if isinstance(exc, web.HTTPUnauthorized):
        own = {"WWW-Authenticate": "Bearer"}
    if isinstance(exc, web.HTTPMethodNotAllowed):
        own = {"Allow": ", ".join(sorted(exc.allowed_methods))}
    if exc.status == 404 and _MODEL_CALLS.fullmatch(request.path):
        return _refuse(request, 404, _NO_V1.format(base_url=base_url(request)))
    return _refuse(request, exc.status, headers=own)


def _refuse_problem(request: web.Request, exc: Problem) -> web.Response:
    if isinstance(exc, UpgradeRequired) and not _wants_json(request):
        return upgrade_page(request, exc)
    return _refuse(request, exc.status, str(exc), code=exc.code, param=exc.param)


@web.middleware
async def readable_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error says what happened and what to do, in the form that the client reads."""
    try:
        return await handler(request)
    except web.HTTPException as exc:
        return _refuse_http(request, exc)
    except BadParameter as exc:
        return _refuse(request, 422, str(exc), param=exc.name)
    except Problem as exc:
        return _refuse_problem(request, exc)
    except StoreUnavailable as exc:
        text = f"The store cannot be read now ({exc}). Requests to your model still pass; try again shortly."
        return _refuse(request, 503, text, headers={"Retry-After": str(RETRY_AFTER_S)})
    except Exception as exc:
        # Where, and of what type: a message, a local variable or a path may hold captured text.
        log.error("console.failed", route=_route(request), error=type(exc).__name__, at=_place(exc))
        return _refuse(request, 500)


def _place(exc: Exception) -> list[str]:
    """The innermost lines of code that the error came through."""
    return [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(exc.__traceback__)[-3:]]


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "-"


@web.middleware
async def own_host_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    host = request.headers.get(hdrs.HOST, "")
    if not is_host_allowed(host, request.app[SETTINGS]):
        return error_answer(
            421,
            "This console answers only for the address it listens on. Open it as http://127.0.0.1 or "
            "http://localhost with its port, or set WATCHLLM_PUBLIC_URL.",
            type="invalid_request_error",
            code="wrong_host",
        )
    return await handler(request)


@web.middleware
async def storable_addresses_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """An address that holds what no store can is refused here, once for all: no query is asked with it."""
    if not is_storable(request.path):
        raise Problem(400, "invalid_parameter", "The address holds a NUL or half of a surrogate pair.")
    storable_fields(request.query.items(), 400)
    return await handler(request)


@web.middleware
async def own_pages_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What changes something is asked for by a page of ours, or by a program; never by a page from elsewhere.

    Browsers say where a request comes from: by `Sec-Fetch-Site`, else by `Origin`, which a page cannot forge or
    leave out of a POST. A program sends neither.
    """
    if request.method in SAFE_METHODS or _is_from_here(request):
        return await handler(request)
    raise Problem(403, "foreign_page", "A page from elsewhere asked for this change. Make it in the dashboard.")


def _is_from_here(request: web.Request) -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get(hdrs.ORIGIN)
    return origin is None or origin.partition("://")[2] == request.headers.get(hdrs.HOST, "")


@web.middleware
async def known_visitors_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whoever asks has the scope that the route needs; which that is stands beside the routes in `app`."""
    if request.match_info.http_exception is not None:  # no such route, or not this method
        return await handler(request)
    needed = request.app[NEEDED][request.match_info.handler]
    if needed is None:
        return await handler(request)
    visitor = await request.app[VISITOR_OF](request)
    if visitor is None:
        if request.method == "GET" and request.app[POOL] is not None and not _wants_json(request):
            raise web.HTTPSeeOther(f"/login?{urlencode({'to': request.path_qs})}")
        raise web.HTTPUnauthorized
    if needed not in visitor.scopes:
        raise Problem(
            403,
            f"{needed}_scope_required",
            f"This needs the scope `{needed}`; there {'is' if len(visitor.scopes) == 1 else 'are'} "
            f"{', '.join(sorted(visitor.scopes)) or 'none'}. Use a key that has it "
            f"(`watchllm keys create --scope {needed}`).",
        )
    request[VISITOR] = visitor
    if request.method not in SAFE_METHODS:
        await must_be_own_form(request, visitor)
    return await handler(request)


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Runs for every answer, errors of aiohttp included; a file out of a call has a stricter policy of its own.
    Captured data is never left in a cache."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    response.headers.popall(hdrs.SERVER, None)
