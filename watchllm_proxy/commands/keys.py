"""`watchllm projects create|list` and `watchllm keys create|list|revoke`.

They ask Postgres and not the running server: keys are needed before anybody is let in, and also while the console
is away. A running installation takes a change up within three seconds (core.KEY_REFRESH_S, app.KEY_POLL_S).
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from watchllm_proxy.commands import options
from watchllm_proxy.commands.terminal import Column, Terminal, clean, errors_told, table
from watchllm_proxy.console import formats
from watchllm_proxy.records import DEFAULT_PROJECT_ID

if TYPE_CHECKING:  # what needs the drivers is imported late: `--help` need not wait for them
    from watchllm_proxy.store.keys import KeyInfo
    from watchllm_proxy.store.projects import ProjectInfo

PROJECT_COLUMNS = (Column("PROJECT"), Column("KEYS", align_right=True), Column("MADE"), Column("NAME"))
KEY_COLUMNS = (Column("KEY"), Column("BEGINS WITH"), Column("STATE"), Column("MADE"), Column("NAME"))

Project = Annotated[str, typer.Option("--project", "-p", help="The project that the key belongs to.")]

keys = typer.Typer(name="keys", help="Make, list and revoke project keys.", no_args_is_help=True)
projects = typer.Typer(name="projects", help="Make and list projects.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(projects)
    app.add_typer(keys)


# --- projects ---------------------------------------------------------------------------------------


@projects.command("create")
def create_project(
    project: Annotated[str, typer.Argument(help="Its id: a-z, 0-9, - and _; stands in addresses.")],
    name: Annotated[str | None, typer.Option("--name", help="For people. Default: the id.")] = None,
) -> None:
    """Make a project: a tenant with keys and runs of its own."""
    with errors_told():
        from watchllm_proxy.commands import key_work  # noqa: PLC0415

        key_work.create_project(project, name or project)
        Terminal().say(f"Project {project} is there. `watchllm keys create --project {project}` lets somebody in.")


@projects.command("list")
def list_projects(*, as_json: options.Json = False) -> None:
    """List the projects, and how many keys each has in force."""
    with errors_told():
        from watchllm_proxy.commands import key_work  # noqa: PLC0415

        terminal, found = Terminal(), key_work.list_projects()
        if as_json:
            terminal.json({"projects": [_dated(asdict(each)) for each in found]})
            return
        for line in table(PROJECT_COLUMNS, [_project_cells(each, _now_us()) for each in found]):
            terminal.line(line)


def _project_cells(info: ProjectInfo, now_us: int) -> tuple[Text, ...]:
    made = formats.ago(info.created_at_us, now_us)
    return Text(info.project_id), Text(str(info.keys_in_force)), Text(made), Text(clean(info.name))


# --- keys -------------------------------------------------------------------------------------------


@keys.command("create")
def create_key(
    project: Project = DEFAULT_PROJECT_ID,
    name: Annotated[str, typer.Option("--name", "-n", help="For people: what uses it.")] = "unnamed",
) -> None:
    """Make a project key and print it: the only time that it can be seen."""
    with errors_told():
        from watchllm_proxy.commands import key_work  # noqa: PLC0415

        key = key_work.create_key(project, name)
        terminal = Terminal()
        terminal.out.print(key)  # whole, whatever the window's width
        terminal.say(
            f"A key of the project {project}. It is not kept and cannot be shown again. Send it as\n"
            "Authorization: Bearer …, or as X-WatchLLM-Key beside a provider key."
        )


@keys.command("list")
def list_keys(*, project: Project = DEFAULT_PROJECT_ID, as_json: options.Json = False) -> None:
    """List the keys of a project, revoked ones too."""
    with errors_told():
        from watchllm_proxy.commands import key_work  # noqa: PLC0415

        terminal, found = Terminal(), key_work.list_keys(project)
        if as_json:
            terminal.json({"keys": [_dated(asdict(each)) for each in found]})
            return
        if not found:
            terminal.say(f"No keys. `watchllm keys create --project {project}` makes one.")
            return
        for line in table(KEY_COLUMNS, [_key_cells(each, _now_us()) for each in found]):
            terminal.line(line)


@keys.command("revoke")
def revoke_key(
    key: Annotated[
        str, typer.Argument(help="Its id as `keys list` shows it or the beginning of that, or the key itself.")
    ],
    project: Project = DEFAULT_PROJECT_ID,
) -> None:
    """End a key for good, on every proxy within seconds."""
    with errors_told():
        from watchllm_proxy.commands import key_work  # noqa: PLC0415

        ended = key_work.revoke_key(project, key)
        Terminal().say(f"Revoked {ended.key_prefix}… ({clean(ended.name)}).")


def _key_cells(info: KeyInfo, now_us: int) -> tuple[Text, ...]:
    revoked_at_us = info.revoked_at_us
    state = "in force" if revoked_at_us is None else f"revoked {formats.ago(revoked_at_us, now_us)}"
    return (
        Text(str(info.key_id)),
        Text(f"{info.key_prefix}…"),
        Text(state, style="green" if revoked_at_us is None else "dim"),
        Text(formats.ago(info.created_at_us, now_us)),
        Text(clean(info.name)),
    )


def _dated(fields: dict[str, object]) -> dict[str, object]:
    """Instants as the API writes them: `created_at` in RFC 3339 for `created_at_us`."""
    return {
        name.removesuffix("_us"): formats.instant(value)
        if name.endswith("_us") and (value is None or isinstance(value, int))
        else value
        for name, value in fields.items()
    }


def _now_us() -> int:
    return round(datetime.now(UTC).timestamp() * 1e6)
