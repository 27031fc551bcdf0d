"""`watchllm projects` and `watchllm keys`: create, rename, list, revoke, rotate.

They ask Postgres and not the running server: keys are needed before anybody is let in, and also while the console
is away. A running installation takes a change up within three seconds (core.KEY_REFRESH_S, app.KEY_POLL_S).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from watchllm_proxy.commands import options
from watchllm_proxy.commands.api_client import ExitStatus
from watchllm_proxy.commands.terminal import Column, Terminal, clean, errors_told, table
from watchllm_proxy.console import formats
from watchllm_proxy.grants import Scope
from watchllm_proxy.records import DEFAULT_PROJECT_ID

if TYPE_CHECKING:  # what needs the drivers is imported late: `--help` need not wait for them
    from watchllm_proxy.store.keys import KeyInfo
    from watchllm_proxy.store.projects import ProjectInfo

PROJECT_COLUMNS = (
    Column("PROJECT"),
    Column("KEYS", align_right=True),
    Column("PLAN"),
    Column("MADE"),
    Column("NAME"),
)
KEY_COLUMNS = (
    Column("KEY"),
    Column("BEGINS WITH"),
    Column("STATE"),
    Column("SCOPES"),
    Column("LIMITS"),
    Column("MADE"),
    Column("NAME"),
)

Project = Annotated[str, typer.Option("--project", "-p", help="The project that the key belongs to.")]

Key = Annotated[
    str, typer.Argument(help="Its id as `keys list` shows it or the beginning of that, or the key itself.")
]
Grace = Annotated[
    str,
    typer.Option("--grace", help="How long the old key stays in force: 30s, 15m, 1h, 2d; 0s for no time."),
]

keys = typer.Typer(name="keys", help="Make, list, revoke and replace project keys.", no_args_is_help=True)
projects = typer.Typer(
    name="projects",
    help="Make, name and list projects; their plans, limits, all their keys.",
    no_args_is_help=True,
)


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
    with errors_told("/settings/projects"):
        from watchllm_proxy.commands import key_work  # noqa: PLC0415

        key_work.create_project(project, name or project)
        Terminal().say(f"Project {project} is there. `watchllm keys create --project {project}` lets somebody in.")


@projects.command("rename")
def rename_project(
    project: Annotated[str, typer.Argument(help="Its id, which stays.")],
    name: Annotated[str, typer.Argument(help="For people.")],
) -> None:
    """Call a project something else."""
    with errors_told("/settings/projects"):
        from watchllm_proxy.commands import key_work  # noqa: PLC0415

        key_work.rename_project(project, name)
        Terminal().say(f"Project {project} is called {clean(name)}.")


@projects.command("list")
def list_projects(*, as_json: options.Json = False) -> None:
    """List the projects: keys in force, plan, and the plan that is asked for."""
    with errors_told("/settings/projects", is_data=as_json):
        from watchllm_proxy.commands import key_work  # noqa: PLC0415

        terminal, found = Terminal(), key_work.list_projects()
        if as_json:
            terminal.json({"projects": [_dated(asdict(each)) for each in found]})
            return
        for line in table(PROJECT_COLUMNS, [_project_cells(each, options.now_us()) for each in found]):
            terminal.line(line)


@projects.command("revoke")
def revoke_project(
    project: Annotated[str, typer.Argument(help="Its id.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """End every key of a project for good, on every proxy within seconds. What is stored stays."""
    with errors_told("/settings/projects"):
        from watchllm_proxy.commands import key_work  # noqa: PLC0415

        if not yes and not typer.confirm(f"End every key of the project {clean(project)!r}?", err=True):
            raise typer.Exit(ExitStatus.ERROR)
        Terminal().say(f"Revoked: {formats.count_of(key_work.revoke_all(project), 'key')}.")


@projects.command("rotate")
def rotate_project(
    project: Annotated[str, typer.Argument(help="Its id.")], grace: Grace = "1h", *, as_json: options.Json = False
) -> None:
    """Replace every key of a project: prints the beginning of each old key, and the new one."""
    with errors_told("/settings/projects", is_data=as_json):
        from watchllm_proxy.commands import key_work  # noqa: PLC0415

        terminal = Terminal()
        done = key_work.replace_all(project, options.duration_s(grace, "--grace"))
        if as_json:
            rows = [{"replaced": str(old.key_id), "name": old.name, "key": key} for old, key in done]
            terminal.json({"keys": rows})
            return
        for old, key in done:
            terminal.out.print(f"{old.key_prefix}… {key}")
        terminal.say(f"Replaced: {formats.count_of(len(done), 'key')}. The old ones end in {grace}.")


def _project_cells(info: ProjectInfo, now_us: int) -> tuple[Text, ...]:
    made = formats.ago(info.created_at_us, now_us)
    plan = Text(info.plan)
    if info.wanted_plan is not None:
        plan.append(f", asks for {info.wanted_plan}", style="bold")
    return Text(info.project_id), Text(str(info.keys_in_force)), plan, Text(made), Text(clean(info.name))


# --- keys -------------------------------------------------------------------------------------------


@keys.command("create")
def create_key(
    project: Project = DEFAULT_PROJECT_ID,
    name: Annotated[str, typer.Option("--name", "-n", help="For people: what uses it.")] = "unnamed",
    scope: Annotated[
        list[Scope] | None,
        typer.Option("--scope", "-s", help="What it may do; may be given again. Default: proxy and ingest."),
    ] = None,
) -> None:
    """Make a project key and print it: the only time that it can be seen."""
    with errors_told("/settings/keys"):
        from watchllm_proxy.commands import key_work  # noqa: PLC0415

        key = key_work.create_key(project, name, scope or ())
        terminal = Terminal()
        terminal.out.print(key)  # whole, whatever the window's width
        terminal.say(
            f"A key of the project {project}. It is not kept and cannot be shown again. Send it as\n"
            "Authorization: Bearer …, or as X-WatchLLM-Key beside a provider key."
        )


@keys.command("list")
def list_keys(*, project: Project = DEFAULT_PROJECT_ID, as_json: options.Json = False) -> None:
    """List the keys of a project, revoked ones too."""
    with errors_told("/settings/keys", is_data=as_json):
        from watchllm_proxy.commands import key_work  # noqa: PLC0415

        terminal, found = Terminal(), key_work.list_keys(project)
        if as_json:
            terminal.json({"keys": [_dated(asdict(each)) for each in found]})
            return
        if not found:
            terminal.say(f"No keys. `watchllm keys create --project {project}` makes one.")
            return
        for line in table(KEY_COLUMNS, [_key_cells(each, options.now_us()) for each in found]):
            terminal.line(line)


@keys.command("rotate")
def rotate_key(key: Key, project: Project = DEFAULT_PROJECT_ID, grace: Grace = "1h") -> None:
    """Make a key that may what this one may, and print it; this one ends after a time of grace."""
    with errors_told("/settings/keys"):
        from watchllm_proxy.commands import key_work  # noqa: PLC0415

        old, new = key_work.replace_key(project, key, options.duration_s(grace, "--grace"))
        terminal = Terminal()
        terminal.out.print(new)
        terminal.say(f"It replaces {old.key_prefix}… ({clean(old.name)}), which ends in {grace}.")


@keys.command("revoke")
def revoke_key(key: Key, project: Project = DEFAULT_PROJECT_ID) -> None:
    """End a key for good, on every proxy within seconds."""
    with errors_told("/settings/keys"):
        from watchllm_proxy.commands import key_work  # noqa: PLC0415

        ended = key_work.revoke_key(project, key)
        Terminal().say(f"Revoked {ended.key_prefix}… ({clean(ended.name)}).")


def _key_cells(info: KeyInfo, now_us: int) -> tuple[Text, ...]:
    return (
        Text(str(info.key_id)),
        Text(f"{info.key_prefix}…"),
        Text(_state(info, now_us), style="green" if info.is_in_force(now_us) else "dim"),
        Text(",".join(info.scopes)),
        Text(_limits(info)),
        Text(formats.ago(info.created_at_us, now_us)),
        Text(clean(info.name)),
    )


def _limits(info: KeyInfo) -> str:
    rate = None if info.requests_per_minute is None else f"{info.requests_per_minute:,} a minute"
    cap = None if info.monthly_cap_usd is None else f"${info.monthly_cap_usd.normalize():f} a month"
    return ", ".join(each for each in (rate, cap) if each is not None) or "–"


def _state(info: KeyInfo, now_us: int) -> str:
    if info.revoked_at_us is not None:
        return f"revoked {formats.ago(info.revoked_at_us, now_us)}"
    if info.expires_at_us is None:
        return "in force"
    if info.is_in_force(now_us):
        return f"ends in {formats.duration(info.expires_at_us - now_us)}"
    return f"ended {formats.ago(info.expires_at_us, now_us)}"


def _dated(fields: dict[str, object]) -> dict[str, object]:
    """Instants as the API writes them: `created_at` in RFC 3339 for `created_at_us`."""
    return {
        name.removesuffix("_us"): formats.instant(value)
        if name.endswith("_us") and (value is None or isinstance(value, int))
        else value
        for name, value in fields.items()
    }
