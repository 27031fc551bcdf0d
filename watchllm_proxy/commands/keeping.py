"""`watchllm erase | retain`: data that is to go, at once or by age.

Both ask in Postgres, and the recorder, which alone writes calls and remembers runs, does it. Where none runs on
this data directory the command runs one for as long as it takes.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from watchllm_proxy import settings
from watchllm_proxy.commands import options
from watchllm_proxy.commands.api_client import CommandFailed, ExitStatus, NotFound
from watchllm_proxy.commands.terminal import Terminal, clean, errors_told
from watchllm_proxy.console.formats import count_of
from watchllm_proxy.records import DEFAULT_PROJECT_ID

if TYPE_CHECKING:  # the databases' drivers take a third of a second to import
    from watchllm_proxy.store.erasures import Erasure

Project = Annotated[
    str | None, typer.Option("--project", help="Of this project; alone: all of the project's data.")
]


def add_to(app: typer.Typer) -> None:
    app.command()(erase)
    app.command()(retain)


# --- erase ------------------------------------------------------------------------------------------


def erase(
    *,
    run: Annotated[str | None, typer.Option("--run", help="This run: its calls, messages and steps.")] = None,
    user: Annotated[
        str | None, typer.Option("--user", help="This end user: every run with a call of theirs, and such calls.")
    ] = None,
    project: Project = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: options.Json = False,
) -> None:
    """Erase a run, a user or a project for good, from both stores, the dead letters and the capture log.

    Covers what was captured before it was asked for. Exit status 1: it is not done.
    """
    with errors_told():
        wanted = _wanted(run, user, project)
        terminal = Terminal()
        if not yes and not typer.confirm(f"Erase {_named(wanted)} for good?", err=True):
            raise typer.Exit(ExitStatus.ERROR)
        erased = asyncio.run(_erased(wanted, terminal))
        if as_json:
            terminal.json({"erasure_id": str(wanted.erasure_id), "erased": erased})
        else:
            for what, count in erased.items():
                terminal.line(f"{count:>12,}  {what.replace('_', ' ')}")
        if erased.get("waits_for_disk"):
            raise CommandFailed(
                "The rows are gone; ClickHouse has not removed the files of before yet. It does within minutes."
            )


def _wanted(run: str | None, user: str | None, project: str | None) -> Erasure:
    from watchllm_proxy.store.erasures import Erasure, ErasureScope  # noqa: PLC0415

    if (run is None) == (user is None) and (run is not None or project is None):
        raise CommandFailed("Name one of --run, --user and --project.", ExitStatus.USAGE)
    if "" in {run, user, project}:
        raise CommandFailed("An id must not be empty.", ExitStatus.USAGE)
    if run is not None:
        scope, subject = ErasureScope.RUN, run
    elif user is not None:
        scope, subject = ErasureScope.USER, user
    else:
        scope, subject = ErasureScope.PROJECT, ""
    return Erasure(uuid4(), project or DEFAULT_PROJECT_ID, scope, subject, time.time_ns() // 1000)


def _named(erasure: Erasure) -> str:
    place = f"project {clean(erasure.project_id)!r}"
    if not erasure.subject:
        return f"all runs, calls and messages of {place}"
    return f"{erasure.scope.value} {clean(erasure.subject)!r} of {place}"


async def _erased(erasure: Erasure, terminal: Terminal) -> dict[str, int]:
    from watchllm_proxy.upkeep import erase_now  # noqa: PLC0415

    return await erase_now(settings.load(), erasure, waiting=lambda: terminal.say("The recorder does it …"))


# --- retain -----------------------------------------------------------------------------------------


def retain(
    *,
    project: Project = None,
    days: Annotated[
        int | None, typer.Option("--days", min=0, help="Keep its calls for so many days; 0: for ever.")
    ] = None,
    default: Annotated[bool, typer.Option("--default", help="As WATCHLLM_RETENTION_DAYS says.")] = False,
    now: Annotated[
        bool, typer.Option("--now", help="Drop what is out of retention at once (while no recorder runs).")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Say how long each project's calls are kept, change it, or drop now what is older.

    A shorter time holds for what is stored, too; a longer one for calls from now on.
    """
    with errors_told():
        if default and days is not None:
            raise CommandFailed("--days and --default say different things.", ExitStatus.USAGE)
        from watchllm_proxy.upkeep import retain_now, retention_of, set_retention  # noqa: PLC0415

        loaded, terminal = settings.load(), Terminal()
        if days is not None or default:
            name = project or DEFAULT_PROJECT_ID
            if not asyncio.run(set_retention(loaded, name, days)):
                raise NotFound(f"there is no project {clean(name)!r}")
        if now:
            done = asyncio.run(retain_now(loaded))
            terminal.say("Dropped: " + ", ".join(count_of(n, what) for what, n in done.items()) + ".")
        rules = asyncio.run(retention_of(loaded))
        if as_json:
            terminal.json({"default_days": loaded.retention_days, "projects": rules})
            return
        terminal.line(f"default: {_days(loaded.retention_days)}")
        for name, kept in sorted(rules.items()):
            terminal.line(f"{clean(name)}: {_days(kept)}")


def _days(days: int) -> str:
    return count_of(days, "day") if days else "for ever"
