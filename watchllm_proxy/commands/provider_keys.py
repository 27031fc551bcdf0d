"""`watchllm provider-keys set|list|remove|reseal`: what a project puts in place of its project keys upstream."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from watchllm_proxy import settings
from watchllm_proxy.commands import options
from watchllm_proxy.commands.api_client import CommandFailed, ExitStatus, NotFound
from watchllm_proxy.commands.terminal import Column, Terminal, clean, errors_told, table
from watchllm_proxy.console import formats
from watchllm_proxy.records import DEFAULT_PROJECT_ID
from watchllm_proxy.sealing import UNSET, Vault, is_provider_key

COLUMNS = (Column("PROJECT"), Column("ENDS WITH"), Column("SET"))

Project = Annotated[str, typer.Option("--project", "-p", help="The project whose it is.")]

provider_keys = typer.Typer(
    name="provider-keys", help="Provider keys of projects: sealed, never shown again.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(provider_keys)


@provider_keys.command("set")
def set_provider_key(project: Project = DEFAULT_PROJECT_ID) -> None:
    """Set a project's provider key: typed unseen, or the first line of stdin. Arguments can be seen by others."""
    with errors_told("/settings/keys"):
        from watchllm_proxy.commands import provider_key_work  # noqa: PLC0415

        vault = _vault()
        key = _given().strip()
        if not is_provider_key(key):
            raise CommandFailed("a provider key is one word of printable characters", ExitStatus.USAGE)
        info = provider_key_work.set_provider_key(project, key, vault)
        Terminal().say(f"The project {project} uses …{info.last_four} from now on, on every proxy within seconds.")


def _given() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Provider key", hide_input=True, err=True))
    return sys.stdin.readline()


@provider_keys.command("list")
def list_provider_keys(*, as_json: options.Json = False) -> None:
    """List the projects that have a provider key of their own, and how each ends."""
    with errors_told("/settings/keys", is_data=as_json):
        from watchllm_proxy.commands import provider_key_work  # noqa: PLC0415

        terminal, found = Terminal(), provider_key_work.list_provider_keys()
        if as_json:
            rows = [{**asdict(each), "set_at": formats.instant(each.set_at_us)} for each in found]
            for row in rows:
                del row["set_at_us"]
            terminal.json({"provider_keys": rows})
            return
        if not found:
            terminal.say("None: all projects use WATCHLLM_UPSTREAM_API_KEY.")
            return
        now_us = options.now_us()
        cells = [
            (Text(each.project_id), Text(f"…{clean(each.last_four)}"), Text(formats.ago(each.set_at_us, now_us)))
            for each in found
        ]
        for line in table(COLUMNS, cells):
            terminal.line(line)


@provider_keys.command("remove")
def remove_provider_key(project: Project = DEFAULT_PROJECT_ID) -> None:
    """Forget a project's provider key: it is back to WATCHLLM_UPSTREAM_API_KEY."""
    with errors_told("/settings/keys"):
        from watchllm_proxy.commands import provider_key_work  # noqa: PLC0415

        if not provider_key_work.remove_provider_key(project):
            raise NotFound(f"the project {clean(project)!r} has no provider key of its own")
        Terminal().say(f"The project {project} is back to WATCHLLM_UPSTREAM_API_KEY.")


@provider_keys.command("reseal")
def reseal() -> None:
    """Seal all provider keys with the first secret of WATCHLLM_SECRET_KEY; then the others may go."""
    with errors_told("/settings/keys"):
        from watchllm_proxy.commands import provider_key_work  # noqa: PLC0415

        done = provider_key_work.reseal(_vault())
        Terminal().say(f"Sealed anew: {formats.count_of(done, 'provider key')}.")


def _vault() -> Vault:
    vault = Vault(settings.load().secret_keys)
    if not vault:
        raise CommandFailed(UNSET, ExitStatus.USAGE)
    return vault
