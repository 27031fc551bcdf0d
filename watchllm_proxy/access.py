"""Who may read which project through the console: a project key, or nobody's key where that is allowed."""

from __future__ import annotations

from aiohttp import web

from watchllm_proxy.proxy.auth import PROJECT_KEY_PREFIX, KeyRing
from watchllm_proxy.records import DEFAULT_PROJECT_ID


class ConsoleAccess:
    """Answers `project_of` from memory.

    A bearer project key reads its own project; one that is unknown or revoked reads nothing. Without a key the
    project `default` is read where calls without a key are allowed too, as on one person's machine: whoever
    may write there may read there.
    """

    def __init__(self, keys: KeyRing, *, allow_anonymous: bool) -> None:
        self._keys = keys
        self._allow_anonymous = allow_anonymous

    def project_of(self, request: web.Request) -> str | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        key = token.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() == "bearer" and key.startswith(PROJECT_KEY_PREFIX):
            found = self._keys.lookup(key)
            return found.project_id if found is not None else None
        return DEFAULT_PROJECT_ID if self._allow_anonymous else None
