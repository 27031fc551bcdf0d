"""Who asks the console, and what they may: a project key, a person's session, or nobody where that is allowed."""

from __future__ import annotations

import asyncpg
from aiohttp import web

from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.context import Visitor
from watchllm_proxy.console.login import CLIENT_HEADER, visitor_of_session
from watchllm_proxy.grants import ALL_SCOPES, Scope
from watchllm_proxy.proxy.auth import OWN_KEY_HEADER, PROJECT_KEY_PREFIX, KeyRing, digest, key_guesses
from watchllm_proxy.records import DEFAULT_PROJECT_ID

FROM_AFAR = ALL_SCOPES - {Scope.ADMIN}
"""What may be done without a key by whoever reaches a port that is not of loopback."""


class ConsoleAccess:
    """Answers `visitor_of`: of keys from memory, of sessions from Postgres, so that one that was ended is over.

    A project key gets its own project, as far as its scopes go; one that is not in force gets nothing. Without a
    key the project `default` is open where calls without a key are allowed too, as on one person's machine: who
    may write there may read there. Changing it takes the machine itself.
    """

    def __init__(
        self, keys: KeyRing, pool: asyncpg.Pool | None = None, *, allow_anonymous: bool, is_loopback: bool
    ) -> None:
        self._keys = keys
        self._pool = pool
        self._guesses = key_guesses()
        self._nobody = Visitor(DEFAULT_PROJECT_ID, ALL_SCOPES if is_loopback else FROM_AFAR)
        self._allow_anonymous = allow_anonymous

    async def visitor_of(self, request: web.Request) -> Visitor | None:
        shown = shown_keys(request)
        if shown:
            return self._visitor_with(shown, request.headers.get(CLIENT_HEADER, ""))
        if self._pool is not None and (person := await visitor_of_session(self._pool, request)) is not None:
            return person
        return self._nobody if self._allow_anonymous else None

    def _visitor_with(self, shown: set[bytes], address: str) -> Visitor | None:
        """Two different keys say two different things: then neither counts."""
        if len(shown) > 1:
            return None
        sha256 = digest(shown.pop())
        if self._guesses.is_spent(address) and not self._keys.is_proven(sha256):
            raise Problem(
                429,
                "too_many_invalid_keys",
                "Too many keys that are not in force came from this address: no new one is looked at for a while.",
            )
        grant = self._keys.lookup_digest(sha256)
        if grant is None:
            self._guesses.note_wrong(address, sha256)
            return None
        return Visitor(grant.project_id, grant.scopes)


def shown_keys(request: web.Request) -> set[bytes]:
    """The project keys that a request carries, in either of the places for them."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    bearer = token.strip().encode("utf-8", "surrogateescape")
    shown = {bearer} if scheme.lower() == "bearer" and bearer.startswith(PROJECT_KEY_PREFIX) else set()
    own = request.headers.get(OWN_KEY_HEADER.decode())
    return shown if own is None else shown | {own.encode("utf-8", "surrogateescape")}
