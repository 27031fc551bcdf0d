"""Who is calling and who pays: project keys, looked up in memory, exchanged for provider keys.

No I/O: a background refresher replaces the whole key ring (`KeyRing.replace`). An unknown key fails closed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from watchllm_proxy.proxy import answers
from watchllm_proxy.proxy.answers import Refusal
from watchllm_proxy.records import DEFAULT_PROJECT_ID

PROJECT_KEY_PREFIX = b"lgw_proj_"

AUTHORIZATION = b"authorization"
OWN_KEY_HEADER = b"x-watchllm-key"
KEY_HEADERS = frozenset((AUTHORIZATION, b"x-api-key", b"api-key"))
"""Where clients put the key that their upstream is to see: OpenAI's, Anthropic's, Azure's."""


@dataclass(frozen=True, slots=True)
class ProjectKey:
    """What a project key stands for. `provider_key` None: the one of the settings is used."""

    project_id: str
    provider_key: str | None = field(default=None, repr=False)


def digest(key: bytes) -> bytes:
    """SHA-256 of the whole key: what the ring and the database hold in place of it."""
    return hashlib.sha256(key).digest()


class KeyRing:
    """Valid project keys by the digest of the whole key.

    Look-up is by digest, so what a dict's comparison leaks about timing is of no use to a guesser: it is about
    bytes that he cannot steer. Revoked keys are simply not in the ring.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Mapping[bytes, ProjectKey] | None = None) -> None:
        self._keys: dict[bytes, ProjectKey] = dict(keys or {})

    def __len__(self) -> int:
        return len(self._keys)

    def lookup(self, key: bytes) -> ProjectKey | None:
        return self._keys.get(digest(key))

    def replace(self, keys: Mapping[bytes, ProjectKey]) -> None:
        """Take `keys` (digest to key) in place of all there were; atomic for requests under way."""
        self._keys = dict(keys)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose call it is, and which credential headers (lower case) go upstream with another value."""

    project_id: str
    replaced: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)


_ANONYMOUS = Identity(DEFAULT_PROJECT_ID)


class Authenticator:
    """Who is calling: by a project key in place of the provider's, one beside it, or none where that may be."""

    __slots__ = ("_allow_anonymous", "_keys", "_upstream_key")

    def __init__(self, keys: KeyRing, *, upstream_key: str | None, allow_anonymous: bool) -> None:
        self._keys = keys
        self._upstream_key = upstream_key
        self._allow_anonymous = allow_anonymous

    def identify(self, credentials: Mapping[bytes, bytes]) -> Identity:
        """`credentials`: the credential headers sent, lower-case name to value. Raises `Refusal`."""
        own_key = credentials.get(OWN_KEY_HEADER)
        in_place = {
            name: key
            for name, value in credentials.items()
            if name in KEY_HEADERS and (key := _project_key(name, value)) is not None
        }
        presented = set(in_place.values())
        if own_key is not None:
            presented.add(own_key)
        if not presented:
            return self._anonymous()
        if len(presented) > 1:
            raise Refusal(answers.KEYS_DISAGREE)
        found = self._keys.lookup(presented.pop())
        if found is None:
            raise Refusal(answers.BAD_KEY)
        if not in_place:
            return Identity(found.project_id)
        return Identity(found.project_id, self._replacements(found, in_place))

    def _anonymous(self) -> Identity:
        if not self._allow_anonymous:
            raise Refusal(answers.NO_KEY)
        return _ANONYMOUS

    def _replacements(self, found: ProjectKey, in_place: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        provider_key = found.provider_key or self._upstream_key
        if provider_key is None:
            raise Refusal(answers.NO_PROVIDER_KEY)
        value = provider_key.encode()
        return {name: b"Bearer " + value if name == AUTHORIZATION else value for name in in_place}


def _project_key(name: bytes, value: bytes) -> bytes | None:
    """The project key in a credential header, or None if it holds something else."""
    if name == AUTHORIZATION:
        scheme, _, value = value.partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        value = value.strip()
    return value if value.startswith(PROJECT_KEY_PREFIX) else None
