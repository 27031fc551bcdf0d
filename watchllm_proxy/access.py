"""Who asks the console, and what they may: a project key, or nobody's key where that is allowed."""

from __future__ import annotations

from aiohttp import web

from watchllm_proxy.console.context import Visitor
from watchllm_proxy.grants import ALL_SCOPES, Scope
from watchllm_proxy.proxy.auth import OWN_KEY_HEADER, PROJECT_KEY_PREFIX, KeyRing
from watchllm_proxy.records import DEFAULT_PROJECT_ID

FROM_AFAR = ALL_SCOPES - {Scope.ADMIN}
"""What may be done without a key by whoever reaches a port that is not of loopback."""


class ConsoleAccess:
    """Answers `visitor_of` from memory.

    A project key gets its own project, as far as its scopes go; one that is not in force gets nothing. Without a
    key the project `default` is open where calls without a key are allowed too, as on one person's machine: who
    may write there may read there. Changing it takes the machine itself.
    """

    def __init__(self, keys: KeyRing, *, allow_anonymous: bool, is_loopback: bool) -> None:
        self._keys = keys
        self._nobody = Visitor(DEFAULT_PROJECT_ID, ALL_SCOPES if is_loopback else FROM_AFAR)
        self._allow_anonymous = allow_anonymous

    async def visitor_of(self, request: web.Request) -> Visitor | None:
        shown = shown_keys(request)
        if shown:
            return self._visitor_with(shown)
        return self._nobody if self._allow_anonymous else None

    def _visitor_with(self, shown: set[bytes]) -> Visitor | None:
        """Two different keys say two different things: then neither counts."""
        grant = self._keys.lookup(shown.pop()) if len(shown) == 1 else None
        return Visitor(grant.project_id, grant.scopes) if grant is not None else None


def shown_keys(request: web.Request) -> set[bytes]:
    """The project keys that a request carries, in either of the places for them."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    bearer = token.strip().encode("utf-8", "surrogateescape")
    shown = {bearer} if scheme.lower() == "bearer" and bearer.startswith(PROJECT_KEY_PREFIX) else set()
    own = request.headers.get(OWN_KEY_HEADER.decode())
    return shown if own is None else shown | {own.encode("utf-8", "surrogateescape")}
