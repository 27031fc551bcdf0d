"""What a process that asks no database knows of project keys: vocabulary, and how it is written down.

Postgres -> `store.keys.load_grants` -> `keyfile` -> `proxy.auth.KeyRing` of every worker, within seconds.

To let a worker know more of a project or a key: add a field with a default to `ProjectTerms` or `KeyGrant`, and
fill it in `load_grants`. A field holds None, a bool, an int, a str or a tuple of str: then it travels by itself,
and a worker of an older version leaves it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from functools import cache
from typing import Any, Final, TypeVar

KEY_ID_HEADER = "X-WatchLLM-Key-Id"
"""Of a captured exchange: with which project key it came. Written behind all that the client sent, so the last one
counts; never sent anywhere."""

SESSION_COOKIE = "watchllm_session"
"""Of a person at the dashboard. Browsers send it to `/v1/` as well, where the host is the same: it ends there."""


class Scope(StrEnum):
    """What a key, or a person, may do in its project. None of them holds another one."""

    PROXY = "proxy"
    """Send calls to the upstream."""
    INGEST = "ingest"
    """Report runs and events."""
    READ = "read"
    """See what was captured and reported."""
    ADMIN = "admin"
    """Correct, erase, and change settings: keys, limits, provider keys."""


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class ProjectTerms:
    """What a worker knows of a project. `sealed_provider_key` None: the one of the settings is used.

    Its limits: None is any number.
    """

    project_id: str
    sealed_provider_key: str | None = field(default=None, repr=False)
    plan: str = "self_hosted"
    monthly_requests: int | None = None
    passes_over_quota: bool = False  # else requests beyond the month's are refused
    requests_per_minute: int | None = None  # of all its keys together


@dataclass(frozen=True, slots=True)
class KeyGrant:
    """What a project key stands for. `expires_at_us` None: until it is revoked."""

    project_id: str
    key_id: str = ""
    scopes: frozenset[Scope] = ALL_SCOPES
    expires_at_us: int | None = None
    requests_per_minute: int | None = None  # None: only its project's limit holds


@dataclass(frozen=True, slots=True)
class Grants:
    """All keys in force, by the SHA-256 of the whole key, and all projects."""

    keys: Mapping[bytes, KeyGrant] = field(default_factory=dict)
    projects: Mapping[str, ProjectTerms] = field(default_factory=dict)


T = TypeVar("T", ProjectTerms, KeyGrant)

_DEFAULTS: Final = {
    kind: tuple((each.name, None if each.default is MISSING else each.default) for each in fields(kind))
    for kind in (ProjectTerms, KeyGrant)
}


def plain(record: ProjectTerms | KeyGrant) -> dict[str, object]:
    """The record as JSON can hold it, without what is as by default."""
    values = ((name, getattr(record, name), default) for name, default in _DEFAULTS[type(record)])
    return {name: _plain_value(value) for name, value, default in values if value != default}


def from_plain(kind: type[T], values: Mapping[str, object]) -> T:
    """The record that `plain` made this of. Raises TypeError or ValueError where it is none."""
    known: dict[str, Any] = {name: values[name] for name, _ in _DEFAULTS[kind] if name in values}
    if "scopes" in known:
        known["scopes"] = known_scopes(tuple(_words(known["scopes"])))
    for name, value in known.items():
        if isinstance(value, list):
            known[name] = tuple(_words(value))
    return kind(**known)


def _plain_value(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else value


def _words(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError("not a list of words")
    return value


@cache
def known_scopes(words: tuple[str, ...]) -> frozenset[Scope]:
    """One set for all keys that have these; a word of a newer version grants nothing here."""
    known = {scope.value: scope for scope in Scope}
    return frozenset(known[word] for word in words if word in known)
