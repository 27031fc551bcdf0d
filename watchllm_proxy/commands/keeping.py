"""`watchllm erase | retain | export | import`: data that is to go, at once or by age, or to come along.

The first two ask in Postgres, and the recorder, which alone writes calls and remembers runs, does it. Where none
runs on this data directory the command runs one for as long as it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO
from uuid import uuid4

import typer
from rich.progress import Progress

from watchllm_proxy import logs, settings
from watchllm_proxy.commands import options
from watchllm_proxy.commands.api_client import ApiClient, CommandFailed, ExitStatus, NotFound
from watchllm_proxy.commands.reading import find_run
from watchllm_proxy.commands.taking import RunForm, copy_run
from watchllm_proxy.commands.terminal import Terminal, clean, errors_told
from watchllm_proxy.console.addresses import run_path
from watchllm_proxy.console.formats import count_of
from watchllm_proxy.records import DEFAULT_PROJECT_ID
from watchllm_proxy.settings import Settings

if TYPE_CHECKING:  # the databases' drivers take a third of a second to import
    from watchllm_proxy.store.erasures import Erasure

ERASED = ("runs", "steps", "calls", "messages", "bodies", "events", "dead_letters", "log_bytes")

Project = Annotated[
    str | None, typer.Option("--project", help="Of this project; alone: all of the project's data.")
]


def add_to(app: typer.Typer) -> None:
    app.command()(erase)
    app.command()(retain)
    app.command()(export)
    app.command("import")(import_)


def _settings() -> Settings:
    """Also sees to it that what the parts log goes to stderr, and only what is worth a person's time."""
    logs.configure("warning", "upkeep")
    return settings.load()


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
        try:
            erased = asyncio.run(_erased(wanted, terminal))
        except KeyboardInterrupt:
            terminal.say("It stays asked for: the next recorder erases it. Type it again to see it done.")
            raise
        if not any(erased.get(what) for what in ERASED):
            terminal.say("There was nothing of it. Ids are exact; --project names another project than `default`.")
        if as_json:
            terminal.json({"erasure_id": str(wanted.erasure_id), "erased": erased})
        else:
            for what in ERASED:
                terminal.line(f"{erased.get(what, 0):>12,}  {what.replace('_', ' ')}")
        terminal.link(f"{_settings().base_url}/jobs")
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

    return await erase_now(_settings(), erasure, waiting=lambda: terminal.say("The recorder does it …"))


# --- retain -----------------------------------------------------------------------------------------


def retain(
    *,
    project: Project = None,
    days: Annotated[
        int | None, typer.Option("--days", min=0, help="Keep its calls for so many days; 0: for ever.")
    ] = None,
    default: Annotated[
        bool, typer.Option("--default", help="As its plan says, or WATCHLLM_RETENTION_DAYS.")
    ] = False,
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

        loaded, terminal = _settings(), Terminal()
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
        else:
            terminal.line(f"every other project: {_days(loaded.retention_days)}")
            for name, kept in sorted(rules.items()):
                terminal.line(f"project {clean(name)}: {_days(kept)}")
        terminal.link(f"{loaded.base_url}/settings/data")


def _days(days: int) -> str:
    return count_of(days, "day") if days else "for ever"


# --- export, import ---------------------------------------------------------------------------------


def export(
    *,
    run: Annotated[list[str] | None, typer.Option("--run", help="This run; may be given again.")] = None,
    form: Annotated[
        RunForm | None, typer.Option("--as", help="To be read, not imported: one run, from the running server.")
    ] = None,
    project: Annotated[
        str | None, typer.Option("--project", help="Runs of this project; default: `default`.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="Into this new file, readable by you alone. Not given: stdout.")
    ] = None,
    url: options.Url = None,
) -> None:
    """Write runs with their steps, calls and messages as lines of JSON, oldest first: all of a project, or some.

    The last line tells how many there were and a checksum. `watchllm up` may run meanwhile.
    With --as: one run as Markdown to be read or pasted, as JSON or as lines of JSON, all bodies whole.
    """
    with errors_told():
        terminal = Terminal()
        if form is not None:
            if run is None or len(run) != 1:
                raise CommandFailed("--as writes one run: name it with --run.", ExitStatus.USAGE)
            if project is not None:
                raise CommandFailed("With --as the key says which project it is (WATCHLLM_KEY).", ExitStatus.USAGE)
            _export_as(terminal, form, options.client(url), run[0], to)
            return
        if url is not None:
            raise CommandFailed("--url goes with --as: all else is read from the stores.", ExitStatus.USAGE)
        from watchllm_proxy.upkeep import export_runs, is_project  # noqa: PLC0415

        loaded, name = _settings(), project or DEFAULT_PROJECT_ID
        with _opened(to) as out, progress(terminal, "exported") as told:
            count = asyncio.run(export_runs(loaded, name, run, out, told))
        if not count and not asyncio.run(is_project(loaded, name)):
            raise NotFound(f"there is no project {clean(name)!r}: an export without runs was written")
        terminal.say(f"{count_of(count, 'run')} exported.")
        terminal.link(loaded.base_url + (run_path(run[0]) if run is not None and len(run) == 1 else "/runs"))
        if run is not None and count < len(set(run)):
            raise NotFound(f"{len(set(run)) - count} of these runs are not there")


def _export_as(terminal: Terminal, form: RunForm, client: ApiClient, run: str, to: Path | None) -> None:
    run_id = find_run(client, run)[0]
    with _opened(to) as out, progress(terminal, "bytes") as told:
        size = copy_run(client, run_id, form, out, lambda count: told(count, 0))
    terminal.say(f"{count_of(size, 'byte')} of {clean(run_id)} as {form}.")
    terminal.link(client.url + run_path(run_id))


def import_(
    file: Annotated[Path, typer.Argument(help="What `watchllm export` wrote.", exists=True, dir_okay=False)],
    *,
    project: Annotated[
        str | None, typer.Option("--project", help="Into this project rather than that of the file.")
    ] = None,
) -> None:
    """Take over exported runs, under their ids. A file that is not whole is refused before anything is written.

    Again is no harm. A run of the same id that differs stays as it is, and the exit status is 1.
    """
    with errors_told():
        from watchllm_proxy.upkeep import import_runs  # noqa: PLC0415

        terminal, loaded = Terminal(), _settings()
        with file.open("rb") as lines, progress(terminal, "imported") as told:
            done = asyncio.run(import_runs(loaded, lines, project, told))
        terminal.say(f"{count_of(done.runs, 'run')} imported, {done.there_already} were there.")
        terminal.link(f"{loaded.base_url}/runs")
        if done.differing:
            raise CommandFailed(
                f"{count_of(done.differing, 'run')} of the same id differ from those here: not imported."
            )


@contextlib.contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO]:
    if path is None:
        yield sys.stdout.buffer
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as exc:
        raise CommandFailed(f"{path} is there already", ExitStatus.USAGE) from exc
    with open(descriptor, "wb") as out:
        yield out


@contextlib.contextmanager
def progress(terminal: Terminal, done_word: str) -> Iterator[Callable[[int, int], None]]:
    """On stderr: a bar for a person, nothing in a pipe."""
    if not terminal.err.is_terminal:
        yield lambda done, total: None
        return
    with Progress(console=terminal.err, transient=True) as bar:
        task = bar.add_task(done_word, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)
