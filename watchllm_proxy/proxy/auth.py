"""Who is calling and who pays: project keys, looked up in memory, exchanged for provider keys.

No I/O: a background refresher replaces the whole key ring (`KeyRing.replace`). An unknown key fails closed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from watchllm_proxy.grants import Grants, KeyGrant, ProjectTerms, Scope
from watchllm_proxy.guessing import GuessLimit
from watchllm_proxy.proxy import answers
from watchllm_proxy.proxy.answers import Refusal
from watchllm_proxy.records import DEFAULT_PROJECT_ID

PROJECT_KEY_PREFIX = b"lgw_proj_"

AUTHORIZATION = b"authorization"
OWN_KEY_HEADER = b"x-watchllm-key"
KEY_HEADERS = frozenset((AUTHORIZATION, b"x-api-key", b"api-key"))
"""Where clients put the key that their upstream is to see: OpenAI's, Anthropic's, Azure's."""

KEY_GUESSES = 100
KEY_GUESSES_PER_S = 2.0

Opener = Callable[[ProjectTerms], bytes | None]
"""The project's own provider key, opened; None: it has none. Raises ValueError where it cannot be opened."""


def key_guesses() -> GuessLimit:
    """Wrong keys that one address may show: far more than a person mistypes."""
    return GuessLimit(burst=KEY_GUESSES, per_s=KEY_GUESSES_PER_S)


def digest(key: bytes) -> bytes:
    """SHA-256 of the whole key: what the ring and the database hold in place of it."""
    return hashlib.sha256(key).digest()


class KeyRing:
    """Valid project keys by the digest of the whole key, and the terms of their projects.

    Look-up is by digest, so what a dict's comparison leaks about timing is of no use to a guesser: it is about
    bytes that he cannot steer. Revoked keys are simply not in the ring; malformed ones were never there.
    """

    __slots__ = ("_clock_s", "_grants", "_proven")

    def __init__(self, grants: Grants | None = None, *, clock_s: Callable[[], float] = time.time) -> None:
        self._grants = grants or Grants()
        self._clock_s = clock_s
        self._proven: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._grants.keys)

    def lookup(self, key: bytes) -> KeyGrant | None:
        """What `key` stands for; None: it is not in force."""
        return self.lookup_digest(digest(key))

    def lookup_digest(self, sha256: bytes) -> KeyGrant | None:
        """The same, by the digest of the key."""
        found = self._grants.keys.get(sha256)
        if found is None:
            return None
        if found.expires_at_us is not None and self._clock_s() * 1e6 >= found.expires_at_us:
            return None
        self._proven.add(sha256)
        return found

    def is_proven(self, sha256: bytes) -> bool:
        """Whether a key was used here before: who shows it does not guess."""
        return sha256 in self._proven

    def terms(self, project_id: str) -> ProjectTerms:
        """Of a project that is not known yet: those of a project that chose nothing."""
        return self._grants.projects.get(project_id) or ProjectTerms(project_id)

    @property
    def has_one_project(self) -> bool:
        """No other is known."""
        return len(self._grants.projects) <= 1

    def replace(self, grants: Grants) -> None:
        """Take `grants` in place of all there was; atomic for requests under way."""
        self._grants = grants
        self._proven = {each for each in self._proven if each in grants.keys}


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose call it is, and which credential headers (lower case) go upstream with another value.

    `grant` is None for a call without a key.
    """

    terms: ProjectTerms
    grant: KeyGrant | None = None
    replaced: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)

    @property
    def project_id(self) -> str:
        return self.terms.project_id


class Authenticator:
    """Who is calling: by a project key in place of the provider's, one beside it, or none where that may be."""

    __slots__ = ("_allow_anonymous", "_guesses", "_keys", "_open_provider_key", "_upstream_key")

    def __init__(
        self,
        keys: KeyRing,
        *,
        upstream_key: str | None,
        allow_anonymous: bool,
        open_provider_key: Opener,
        guesses: GuessLimit | None = None,
    ) -> None:
        self._keys = keys
        self._guesses = key_guesses() if guesses is None else guesses
        self._upstream_key = upstream_key
        self._allow_anonymous = allow_anonymous
        self._open_provider_key = open_provider_key

    def identify(
        self, credentials: Mapping[bytes, bytes], needed: Scope = Scope.PROXY, *, address: str = ""
    ) -> Identity:
        """`credentials`: the credential headers sent, lower-case name to value. Raises `Refusal`.

        `needed`: what the key must allow. Only a call that goes upstream (`Scope.PROXY`) needs a provider key.
        `address`: of the client, of whom too many wrong keys are not even looked at.
        """
        in_place, presented = _presented(credentials)
        if not presented:
            return self._anonymous()
        if len(presented) > 1:
            raise Refusal(answers.KEYS_DISAGREE)
        grant = self._grant(digest(presented.pop()), address)
        if needed not in grant.scopes:
            raise Refusal(answers.MISSING_SCOPE[needed])
        terms = self._keys.terms(grant.project_id)
        if not in_place or needed is not Scope.PROXY:
            return Identity(terms, grant)
        return Identity(terms, grant, self._replacements(terms, in_place))

    def _grant(self, sha256: bytes, address: str) -> KeyGrant:
        """What is malformed, unknown, revoked or at its end looks the same, and takes the same way."""
        if self._guesses.is_spent(address) and not self._keys.is_proven(sha256):
            raise Refusal(answers.TOO_MANY_GUESSES)
        grant = self._keys.lookup_digest(sha256)
        if grant is None:
            self._guesses.note_wrong(address, sha256)
            raise Refusal(answers.BAD_KEY)
        return grant

    def _anonymous(self) -> Identity:
        if not self._allow_anonymous:
            raise Refusal(answers.NO_KEY)
        return Identity(self._keys.terms(DEFAULT_PROJECT_ID))

    def _replacements(self, terms: ProjectTerms, in_place: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """A key of the project's own that cannot be opened gives no way to the setting's: others would pay."""
        try:
            value = self._open_provider_key(terms)
        except ValueError:
            raise Refusal(answers.SEALED_PROVIDER_KEY) from None
        if value is None:
            if self._upstream_key is None:
                raise Refusal(answers.NO_PROVIDER_KEY)
            value = self._upstream_key.encode()
        return {name: b"Bearer " + value if name == AUTHORIZATION else value for name in in_place}


def _presented(credentials: Mapping[bytes, bytes]) -> tuple[Mapping[bytes, bytes], set[bytes]]:
    """Project keys in the place of a provider's, by header; and all project keys that were shown."""
    in_place = {
        name: key
        for name, value in credentials.items()
        if name in KEY_HEADERS and (key := _project_key(name, value)) is not None
    }
    own_key = credentials.get(OWN_KEY_HEADER)
    return in_place, {*in_place.values(), *(() if own_key is None else (own_key,))}


def _project_key(name: bytes, value: bytes) -> bytes | None:
    """The project key in a credential header, or None if it holds something else."""
    if name == AUTHORIZATION:
        scheme, _, value = value.partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        value = value.strip()
    return value if value.startswith(PROJECT_KEY_PREFIX) else None
