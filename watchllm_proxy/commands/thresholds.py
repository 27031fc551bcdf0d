"""`watchllm projects flags`: from where on something is a flag in a project's runs."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from watchllm_proxy.commands import options
from watchllm_proxy.commands.api_client import CommandFailed, ExitStatus, NotFound
from watchllm_proxy.commands.keys import projects
from watchllm_proxy.commands.terminal import Column, Terminal, clean, errors_told, table
from watchllm_proxy.console.labels import threshold_label
from watchllm_proxy.enrich.flags.thresholds import CHOICES, DEFAULT_THRESHOLDS, is_choice

if TYPE_CHECKING:  # what needs the drivers is imported late: `--help` need not wait for them
    import asyncpg

    from watchllm_proxy.store.project_settings import ProjectSettings

COLUMNS = (Column("NAME"), Column("HERE", align_right=True), Column("FOR ALL", align_right=True), Column("WHAT"))
AS_FOR_ALL = "default"


def add_to(_: typer.Typer) -> None:
    """Among the commands of projects."""
    projects.command("flags")(flags)


def flags(
    project: Annotated[str, typer.Argument(help="The project.")],
    chosen: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=NUMBER…]", help="`default` takes one back; left out: show them."),
    ] = None,
    *,
    as_json: options.Json = False,
) -> None:
    """Choose from where on something is a flag, or show that. What is not named stays."""
    with errors_told("/settings/flags", is_data=as_json):
        from watchllm_proxy.commands import key_work  # noqa: PLC0415
        from watchllm_proxy.store import project_settings  # noqa: PLC0415

        wanted = dict(map(_read, chosen or ()))

        def edit(now: ProjectSettings) -> ProjectSettings:
            after = {**dict(now.flag_thresholds), **wanted}
            kept = {name: value for name, value in after.items() if value is not None}
            return replace(now, flag_thresholds=tuple(sorted(kept.items())))

        async def ask(pool: asyncpg.Pool) -> ProjectSettings:
            asked = project_settings.change(pool, project, edit) if wanted else None
            found = await (asked or project_settings.of_project(pool, project))
            if found is None:
                raise NotFound(f"there is no project {clean(project)!r}")
            return found

        own = dict(key_work.asked(ask).flag_thresholds)
        terminal = Terminal()
        if as_json:
            terminal.json({name: int(value) if CHOICES[name][2] else value for name, value in own.items()})
        else:
            for line in table(COLUMNS, [_cells(name, own.get(name)) for name in CHOICES]):
                terminal.line(line)
        if wanted:
            terminal.say(
                "It holds within seconds for runs that get another call; `watchllm replay --from` for all."
            )


def _read(written: str) -> tuple[str, Decimal | None]:
    name, _, number = written.partition("=")
    if name not in CHOICES:
        raise CommandFailed(f"there is no {clean(name)!r}; there are {', '.join(CHOICES)}", ExitStatus.USAGE)
    if number == AS_FOR_ALL:
        return name, None
    try:
        value = Decimal(number)
    except InvalidOperation:
        value = Decimal("NaN")
    least, most, is_whole = CHOICES[name]
    if not is_choice(name, value):
        what = "a whole number" if is_whole else "a number"
        raise CommandFailed(f"{name} is {what} from {least:,f} to {most:,}, or default", ExitStatus.USAGE)
    return name, round(value, 12)


def _cells(name: str, own: Decimal | None) -> tuple[Text, ...]:
    for_all: object = getattr(DEFAULT_THRESHOLDS, name)
    return (
        Text(name),
        Text("" if own is None else f"{own.normalize():,f}", style="bold"),
        Text("none" if for_all is None else f"{for_all:,}"),
        Text(threshold_label(name), style="dim"),
    )
