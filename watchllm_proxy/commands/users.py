"""`watchllm users create|list|remove|password`: people who log in to the console where that is needed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.text import Text

from watchllm_proxy.commands import options
from watchllm_proxy.commands.api_client import CommandFailed, ExitStatus, NotFound
from watchllm_proxy.commands.terminal import Column, Terminal, clean, errors_told, table
from watchllm_proxy.console import formats
from watchllm_proxy.grants import Scope
from watchllm_proxy.records import DEFAULT_PROJECT_ID

COLUMNS = (Column("NAME"), Column("PROJECT"), Column("SCOPES"), Column("MADE"))

Name = Annotated[str, typer.Argument(help="What they type to log in: a name or an e-mail address.")]

users = typer.Typer(name="users", help="People who log in to the console.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(users)


@users.command("create")
def create_user(
    name: Name,
    project: Annotated[
        str, typer.Option("--project", "-p", help="The project that they see.")
    ] = DEFAULT_PROJECT_ID,
    scope: Annotated[
        list[Scope] | None,
        typer.Option("--scope", "-s", help="What they may do; may be given again. Default: read and admin."),
    ] = None,
) -> None:
    """Let somebody log in. The password is typed unseen, or the first line of stdin."""
    with errors_told("/login"):
        from watchllm_proxy.commands import user_work  # noqa: PLC0415

        user_work.create_user(name, project, scope or (Scope.READ, Scope.ADMIN), _password())
        Terminal().say(f"{clean(name)} can log in to the project {project}.")


@users.command("list")
def list_users(*, as_json: options.Json = False) -> None:
    """List who may log in, and what they may do."""
    with errors_told("/login", is_data=as_json):
        from watchllm_proxy.commands import user_work  # noqa: PLC0415

        terminal, found = Terminal(), user_work.list_users()
        if as_json:
            rows = [
                {
                    "user_name": each.user_name,
                    "project_id": each.project_id,
                    "scopes": sorted(each.scopes),
                    "created_at": formats.instant(each.created_at_us),
                }
                for each in found
            ]
            terminal.json({"users": rows})
            return
        if not found:
            terminal.say("Nobody. `watchllm users create NAME` lets somebody log in.")
            return
        now_us = options.now_us()
        cells = [
            (
                Text(each.user_name),
                Text(each.project_id),
                Text(",".join(sorted(each.scopes))),
                Text(formats.ago(each.created_at_us, now_us)),
            )
            for each in found
        ]
        for line in table(COLUMNS, cells):
            terminal.line(line)


@users.command("remove")
def remove_user(name: Name) -> None:
    """Let somebody in no more; their sessions end at once."""
    with errors_told("/login"):
        from watchllm_proxy.commands import user_work  # noqa: PLC0415

        if not user_work.remove_user(name):
            raise _nobody(name)
        Terminal().say(f"{clean(name)} cannot log in any more.")


@users.command("password")
def set_password(name: Name) -> None:
    """Set a new password; sessions of before end at once."""
    with errors_told("/login"):
        from watchllm_proxy.commands import user_work  # noqa: PLC0415

        if not user_work.set_password(name, _password()):
            raise _nobody(name)
        Terminal().say(f"{clean(name)} has a new password.")


def _nobody(name: str) -> NotFound:
    return NotFound(f"there is nobody called {clean(name)!r}; `watchllm users list` lists them")


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    given = sys.stdin.readline().rstrip("\n")
    if not given:
        raise CommandFailed(
            "no password was given: type it, or send it as the first line of stdin", ExitStatus.USAGE
        )
    return given
