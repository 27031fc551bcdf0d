"""What a project has taken out of its calls: looked up, changed, and tried on a text that is kept nowhere.

The page and the API say the same by way of this module; the seam to the store and to the rules is `RedactionDesk`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from aiohttp import web

from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.context import REDACTION, SETTINGS, project_of
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.enrich.redaction.own import BadRule, OwnRule, own_rules
from watchllm_proxy.store.shapes import RunQuery

MAX_TRIED_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True)
class Wishes:
    """Of a project. `mode` None: as the installation's setting says."""

    mode: RedactionMode | None = None
    rules: tuple[OwnRule, ...] = ()
    store_content: bool = True  # False: figures are kept, and no text


@dataclass(frozen=True, slots=True)
class Tried:
    """A text as it would be stored, but for its tags, and what was taken out, by kind."""

    text: str
    redacted: tuple[tuple[str, int], ...]


class RedactionDesk(Protocol):
    """All may raise `StoreUnavailable`."""

    async def wishes(self, project_id: str) -> Wishes: ...

    async def change(self, project_id: str, wishes: Wishes) -> None:
        """Recorders take it up within seconds. Raises `BadRule`; `LookupError`: there is no such project."""

    def tried(self, text: str, mode: RedactionMode, rules: Sequence[OwnRule]) -> Tried:
        """Its tags are not those of what is stored: nobody can try here whom a tag stands for.

        Takes CPU only. Raises `BadRule`.
        """

    async def as_stored(self, project_id: str, text: str) -> str:
        """How it stands in what is stored, so that it can be looked for there."""


class NobodysRedaction:
    """Where nothing can be changed: a console over runs that no recorder keeps."""

    async def wishes(self, project_id: str) -> Wishes:
        return Wishes()

    async def change(self, project_id: str, wishes: Wishes) -> None:
        raise LookupError("nobody would follow it")

    def tried(self, text: str, mode: RedactionMode, rules: Sequence[OwnRule]) -> Tried:
        return Tried(text, ())

    async def as_stored(self, project_id: str, text: str) -> str:
        return text


# --- what the page and the API do -------------------------------------------------------------------


def default_mode(request: web.Request) -> RedactionMode:
    return RedactionMode(request.app[SETTINGS].redact)


async def wishes(request: web.Request) -> Wishes:
    return await request.app[REDACTION].wishes(project_of(request))


async def change(request: web.Request, wanted: Wishes) -> Wishes:
    """Raises `Problem` for a rule that cannot be used."""
    check_rules(wanted.rules)
    try:
        await request.app[REDACTION].change(project_of(request), wanted)
    except LookupError:
        raise web.HTTPNotFound from None
    except BadRule as exc:  # one that takes too long
        raise _bad(exc.number, exc.field, exc.reason) from exc
    return wanted


async def tried(request: web.Request, text: str, wanted: Wishes) -> Tried:
    """Raises `Problem` for a text that is too long and for a rule that cannot be used."""
    if len(text) > MAX_TRIED_CHARACTERS:
        raise Problem(422, "invalid_parameter", f"Try at most {MAX_TRIED_CHARACTERS:,} characters.", "text")
    check_rules(wanted.rules)
    mode = wanted.mode or default_mode(request)
    try:
        return await asyncio.to_thread(request.app[REDACTION].tried, text, mode, wanted.rules)
    except BadRule as exc:  # one that takes too long
        raise _bad(exc.number, exc.field, exc.reason) from exc


def check_rules(rules: Sequence[OwnRule]) -> None:
    """Raises `Problem` that names the rule and its field."""
    names = [rule.name for rule in rules]
    for number, name in enumerate(names, start=1):
        if name in names[: number - 1]:
            raise _bad(number, "name", f"there is another rule named {name}")
    try:
        own_rules(rules)
    except BadRule as exc:
        raise _bad(exc.number, exc.field, exc.reason) from exc


def _bad(number: int, field: str, reason: str) -> Problem:
    return Problem(422, "invalid_rule", f"Rule {number} cannot be used: {reason}.", f"rules[{number - 1}].{field}")


def wishes_of(fields: Mapping[str, object], before: Wishes) -> Wishes:
    """`before` with what a JSON object says: "mode", "store_content", "rules". Raises `Problem`."""
    after = before
    if "mode" in fields:
        after = replace(after, mode=_mode(fields["mode"]))
    if "store_content" in fields:
        after = replace(after, store_content=_boolean(fields["store_content"], "store_content"))
    if "rules" in fields:
        after = replace(after, rules=_rules(fields["rules"]))
    return after


def _mode(value: object) -> RedactionMode | None:
    if value is None:
        return None
    if not isinstance(value, str) or value not in list(RedactionMode):
        modes = ", ".join(RedactionMode)
        raise Problem(422, "invalid_parameter", f"mode must be one of {modes}, or null for the default.", "mode")
    return RedactionMode(value)


def _boolean(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise Problem(422, "invalid_parameter", f"{name} must be true or false.", name)
    return value


def _rules(value: object) -> tuple[OwnRule, ...]:
    if not isinstance(value, list):
        raise Problem(422, "invalid_parameter", "rules must be a list of {name, pattern}.", "rules")
    return tuple(_rule(number, item) for number, item in enumerate(value))


def _rule(number: int, value: object) -> OwnRule:
    if isinstance(value, dict) and value.keys() == {"name", "pattern"}:
        name, pattern = value["name"], value["pattern"]
        if isinstance(name, str) and isinstance(pattern, str):
            return OwnRule(name, pattern)
    raise Problem(422, "invalid_parameter", "A rule has a name and a pattern, both text.", f"rules[{number}]")


# --- what is looked for -----------------------------------------------------------------------------


async def as_stored(request: web.Request, query: RunQuery) -> RunQuery:
    """The query with the texts that it looks for as they are stored: an address is found by its tag."""
    desk, project_id = request.app[REDACTION], project_of(request)

    async def stored(text: str | None) -> str | None:
        return text and await desk.as_stored(project_id, text)

    return replace(
        query,
        q=await stored(query.q),
        agent=await stored(query.agent),
        session=await stored(query.session),
        user=await stored(query.user),
    )
