"""People come in by name and password, and get a session: a cookie of 256 random bits, kept as a hash.

`/login` and `/logout` are open to everybody. Where nobody needs to log in they do no harm.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

import asyncpg
import structlog
from aiohttp import web

from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.context import LOGINS, POOL, SETTINGS, Visitor
from watchllm_proxy.console.forms import URLENCODED, form_fields
from watchllm_proxy.console.html import render
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.grants import SESSION_COOKIE
from watchllm_proxy.guessing import GuessLimit
from watchllm_proxy.passwords import PasswordCheck
from watchllm_proxy.settings import Settings
from watchllm_proxy.store import people

log = structlog.get_logger(__name__)

COOKIE_BYTES = 32
FORM_FIELD = "form_token"
FORM_HEADER = "X-WatchLLM-Form-Token"
CLIENT_HEADER = "X-Forwarded-For"
"""Who asks, as the proxy in front of this console saw it; it lets nobody else say."""

WRONG = "There is nobody of this name with this password."
TOO_OFTEN = "Too many wrong passwords. Wait a minute, then try again."

ADDRESS_BURST, ADDRESS_PER_S = 30, 0.2
NAME_BURST, NAME_PER_S = 10, 0.1


class Logins:
    """What stands between a guesser and a password: both an address and a name may be wrong only so often."""

    def __init__(self) -> None:
        self.by_address = GuessLimit(burst=ADDRESS_BURST, per_s=ADDRESS_PER_S)
        self.by_name = GuessLimit(burst=NAME_BURST, per_s=NAME_PER_S)
        self.check = PasswordCheck()


# --- the pages ----------------------------------------------------------------------------------------


async def login_page(request: web.Request) -> web.Response:
    return _page(request, to=_own_path(request.query.get("to", "")))


async def login_form(request: web.Request) -> web.Response:
    fields = await form_fields(request)
    user_name, password = str(fields.get("user_name", "")), str(fields.get("password", ""))
    to = _own_path(str(fields.get("to", "")))
    logins, address = request.app[LOGINS], request.headers.get(CLIENT_HEADER, "")
    if logins.by_address.is_spent(address) or logins.by_name.is_spent(user_name):
        return _page(request, to=to, problem=TOO_OFTEN, status=429)
    person = await people.get_person(_pool(request), user_name)
    if not await logins.check.is_right(person.password_hash if person else None, password):
        guess = hashlib.sha256(f"{user_name}\0{password}".encode("utf-8", "surrogatepass")).digest()
        logins.by_address.note_wrong(address, guess)
        logins.by_name.note_wrong(user_name, guess)
        log.warning("console.login_refused", client=address)
        return _page(request, to=to, problem=WRONG, status=401)
    cookie = secrets.token_urlsafe(COOKIE_BYTES)
    settings = request.app[SETTINGS]
    if person is None or not await people.open_session(
        _pool(request), person, cookie.encode(), lasts_s=settings.session_s
    ):
        return _page(request, to=to, problem=WRONG, status=401)
    answer = _leading_to(to or "/")
    _set(answer, cookie, settings, lasts_s=int(settings.session_s))
    return answer


async def logout_form(request: web.Request) -> web.Response:
    """Ends the session here and in the store."""
    cookie = request.cookies.get(SESSION_COOKIE)
    if cookie is not None:
        await people.close_session(_pool(request), cookie.encode("utf-8", "surrogateescape"))
    answer = _leading_to("/login")
    _set(answer, "", request.app[SETTINGS], lasts_s=0)
    return answer


def _page(request: web.Request, *, to: str, problem: str | None = None, status: int = 200) -> web.Response:
    headers = {"Retry-After": "60"} if status == 429 else None
    return render(request, "login.html", status=status, headers=headers, nav="", to=to, problem=problem)


def _leading_to(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": path})


def _set(answer: web.Response, cookie: str, settings: Settings, *, lasts_s: int) -> None:
    """Not for scripts, not for requests that other sites begin, and by https alone where people come by it."""
    answer.set_cookie(
        SESSION_COOKIE,
        cookie,
        max_age=lasts_s,
        path="/",
        httponly=True,
        samesite="Lax",
        secure=settings.is_public_by_tls,
    )


def _own_path(path: str) -> str:
    """`path` if it leads into this console; "" for what could lead elsewhere."""
    is_own = path.startswith("/") and not path.startswith("//") and path.isascii() and path.isprintable()
    return path if is_own and "\\" not in path and not path.startswith("/login") else ""


def _pool(request: web.Request) -> asyncpg.Pool:
    pool = request.app[POOL]
    if pool is None:
        raise StoreUnavailable("this console knows no people")
    return pool


# --- sessions -----------------------------------------------------------------------------------------


async def visitor_of_session(pool: asyncpg.Pool, request: web.Request) -> Visitor | None:
    """Who is logged in; None: nobody is."""
    cookie = request.cookies.get(SESSION_COOKIE)
    if not cookie:
        return None
    raw = cookie.encode("utf-8", "surrogateescape")
    person = await people.get_session(pool, raw)
    if person is None:
        return None
    return Visitor(person.project_id, person.scopes, person.user_name, form_token(raw))


def form_token(cookie: bytes) -> str:
    """What the forms of a session carry: a page of elsewhere cannot know it, and the cookie stays unknown."""
    return hmac.new(cookie, b"watchllm form token", hashlib.sha256).hexdigest()


async def must_be_own_form(request: web.Request, visitor: Visitor) -> None:
    """A change that somebody's session asks for comes from a page that we made for it. Raises `Problem`.

    Beside the check of where a request comes from (`guard.own_pages_only`) and the cookie's SameSite.
    """
    if not visitor.form_token:
        return
    given = request.headers.get(FORM_HEADER)
    if given is None and request.content_type == URLENCODED:
        given = (await form_fields(request)).get(FORM_FIELD, "")
    if not hmac.compare_digest((given or "").encode("utf-8", "surrogatepass"), visitor.form_token.encode()):
        raise Problem(
            403,
            "foreign_form",
            "This form is not of your session: it is too old, or of elsewhere. Reload the page.",
        )
