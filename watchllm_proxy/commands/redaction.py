"""`watchllm redaction show|set|add-rule|remove-rule|try`: what a project has taken out before anything is stored.

They ask Postgres and not the running server; a recorder takes a change up within seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.text import Text

from watchllm_proxy import settings
from watchllm_proxy.commands import options
from watchllm_proxy.commands.api_client import CommandFailed, ExitStatus, NotFound
from watchllm_proxy.commands.terminal import Column, Terminal, clean, errors_told, table
from watchllm_proxy.records import DEFAULT_PROJECT_ID

if TYPE_CHECKING:  # what needs the drivers is imported late: `--help` need not wait for them
    import asyncpg

    from watchllm_proxy.console.redaction import Wishes
    from watchllm_proxy.redacting import ProjectRedaction

T = TypeVar("T")

COLUMNS = (Column("RULE"), Column("PATTERN"))

Project = Annotated[str, typer.Option("--project", "-p", help="The project whose calls it is about.")]
Name = Annotated[str, typer.Argument(help="Small letters: what its tag says, as in [custom.employee_…].")]


class Mode(StrEnum):
    """`default`: as WATCHLLM_REDACT says."""

    ALL = "all"
    SECRETS = "secrets"
    OFF = "off"
    DEFAULT = "default"


redaction = typer.Typer(
    name="redaction", help="What is taken out of calls before they are stored.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(redaction)


@redaction.command("show")
def show(*, project: Project = DEFAULT_PROJECT_ID, as_json: options.Json = False) -> None:
    """Show what a project has taken out, and its own rules."""
    with errors_told("/settings/redaction", is_data=as_json):
        wishes = _wishes(project)
        terminal = Terminal()
        if as_json:
            rules = [{"name": rule.name, "pattern": rule.pattern} for rule in wishes.rules]
            shown = {"mode": wishes.mode, "store_content": wishes.store_content, "rules": rules}
            terminal.json({"redaction": {**shown, "default_mode": settings.load().redact}})
            return
        terminal.line(_in_words(wishes))
        cells = [(Text(rule.name), Text(clean(rule.pattern))) for rule in wishes.rules]
        for line in table(COLUMNS, cells) if cells else ():
            terminal.line(line)


@redaction.command("set")
def set_mode(
    mode: Annotated[Mode | None, typer.Argument(help="all, secrets (credentials only), off, or default.")] = None,
    *,
    content: Annotated[
        bool | None,
        typer.Option("--content/--no-content", help="Keep texts as redacted, or figures only."),
    ] = None,
    project: Project = DEFAULT_PROJECT_ID,
) -> None:
    """Set what is taken out of calls that are stored from now on. What is stored already stays."""
    with errors_told("/settings/redaction"):
        if mode is None and content is None:
            raise CommandFailed("say all, secrets, off or default, or --no-content", ExitStatus.USAGE)

        def edit(before: Wishes) -> Wishes:
            from watchllm_proxy.enrich.redaction.kinds import RedactionMode  # noqa: PLC0415

            after = before if content is None else replace(before, store_content=content)
            if mode is None:
                return after
            return replace(after, mode=None if mode is Mode.DEFAULT else RedactionMode(mode.value))

        Terminal().say(_in_words(_changed(project, edit)))


@redaction.command("add-rule")
def add_rule(
    name: Name,
    pattern: Annotated[str, typer.Argument(help="RE2. Its first group is the value, or else all of it.")],
    *,
    project: Project = DEFAULT_PROJECT_ID,
) -> None:
    """Add a rule of the project's own, or set the pattern of the one of that name."""
    with errors_told("/settings/redaction"):
        from watchllm_proxy.enrich.redaction.own import BadRule, OwnRule  # noqa: PLC0415

        def edit(before: Wishes) -> Wishes:
            others = tuple(rule for rule in before.rules if rule.name != name)
            return replace(before, rules=(*others, OwnRule(name, pattern)))

        try:
            _changed(project, edit)
        except BadRule as exc:
            raise CommandFailed(f"the rule {clean(name)!r} cannot be used: {exc.reason}") from exc
        Terminal().say(f"What it finds in calls that are stored from now on becomes [custom.{name}_…].")


@redaction.command("remove-rule")
def remove_rule(name: Name, *, project: Project = DEFAULT_PROJECT_ID) -> None:
    """Remove a rule of the project's own."""
    with errors_told("/settings/redaction"):

        def edit(before: Wishes) -> Wishes:
            others = tuple(rule for rule in before.rules if rule.name != name)
            if len(others) == len(before.rules):
                raise NotFound(f"the project has no rule {clean(name)!r}")
            return replace(before, rules=others)

        _changed(project, edit)
        Terminal().say(f"The rule {name} is gone.")


@redaction.command("try")
def try_it(*, project: Project = DEFAULT_PROJECT_ID) -> None:
    """Redact the text of stdin as the project's calls are; its tags are made up, and it is kept nowhere."""
    with errors_told("/settings/redaction"):
        from watchllm_proxy.console.labels import redaction_note  # noqa: PLC0415
        from watchllm_proxy.enrich.redaction.kinds import RedactionMode  # noqa: PLC0415

        text = sys.stdin.read()

        async def ask(desk: ProjectRedaction) -> tuple[str, str | None]:
            wishes = await desk.wishes(project)
            mode = wishes.mode or RedactionMode(settings.load().redact)
            tried = desk.tried(text, mode, wishes.rules)
            return tried.text, redaction_note(tried.redacted)

        redacted, note = _asked(project, ask)
        sys.stdout.write(redacted)
        Terminal().say(note or "Nothing was taken out.")


def _wishes(project: str) -> Wishes:
    async def ask(desk: ProjectRedaction) -> Wishes:
        return await desk.wishes(project)

    return _asked(project, ask)


def _changed(project: str, edit: Callable[[Wishes], Wishes]) -> Wishes:
    async def change(desk: ProjectRedaction) -> Wishes:
        after = edit(await desk.wishes(project))
        await desk.change(project, after)
        return after

    return _asked(project, change)


def _asked(project: str, ask: Callable[[ProjectRedaction], Awaitable[T]]) -> T:
    """`ask`, where there is such a project."""
    from watchllm_proxy.commands import key_work  # noqa: PLC0415
    from watchllm_proxy.enrich.redaction.kinds import RedactionMode  # noqa: PLC0415
    from watchllm_proxy.redacting import ProjectRedaction  # noqa: PLC0415

    async def asking(pool: asyncpg.Pool) -> T:
        await key_work.must_exist(pool, project)
        return await ask(ProjectRedaction(pool, os.urandom(32), RedactionMode(settings.load().redact)))

    return key_work.asked(asking)


def _in_words(wishes: Wishes) -> str:
    default = settings.load().redact
    taken = {"all": "credentials and personal data", "secrets": "credentials", "off": "nothing"}
    mode = wishes.mode or default
    said = f"Taken out: {taken[mode]}{'' if wishes.mode else ', as WATCHLLM_REDACT says'}."
    return said if wishes.store_content else f"{said} Figures are kept, and no text."
