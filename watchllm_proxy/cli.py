"""The way in: `watchllm up | down | demo | runs | show | tail | open | diff | doctor | keys | projects |
provider-keys | users | dead`, the parts, and `erase | retain | export | import` for what is stored.

Data goes to stdout and talk to stderr. Exit status: 0 done, 1 error, 2 wrong usage or settings, 3 not found.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvloop

from watchllm_proxy import __version__, child, logs, settings
from watchllm_proxy.announcement import Announcement
from watchllm_proxy.commands import (
    comparing,
    dead,
    doctor,
    keeping,
    keys,
    plans,
    pricing,
    provider_keys,
    reading,
    redaction,
    replaying,
    thresholds,
    users,
)
from watchllm_proxy.commands.api_client import CommandFailed, NotFound
from watchllm_proxy.commands.terminal import Terminal, errors_told
from watchllm_proxy.settings import Settings, with_local_access

T = TypeVar("T")

app = typer.Typer(
    name="watchllm",
    help="See every agent run: point OPENAI_BASE_URL at this proxy and open the dashboard.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Host = Annotated[str | None, typer.Option(help="Address to listen on (WATCHLLM_HOST).")]
Port = Annotated[
    int | None, typer.Option(help="The one port; 0 lets the system choose (WATCHLLM_PORT).", min=0, max=65535)
]
DataDir = Annotated[Path | None, typer.Option(help="Capture log and embedded stores (WATCHLLM_DATA_DIR).")]


@app.command()
def up(  # noqa: PLR0917 - typer calls it by name
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    workers: Annotated[int | None, typer.Option(help="Proxy processes (WATCHLLM_WORKERS).", min=1)] = None,
    upstream: Annotated[str | None, typer.Option(help="Upstream URL (WATCHLLM_UPSTREAM_URL).")] = None,
    print_env: Annotated[bool, typer.Option("--print-env", help="Only the export line on stdout.")] = False,
    detach: Annotated[
        bool,
        typer.Option("--detach", "-d", help="In the background, once requests pass; `watchllm down` ends it."),
    ] = False,
) -> None:
    """Start everything on this machine: proxy, recorder, console and stores. Ctrl-C stops; nothing is lost."""
    with errors_told():
        chosen = settings.load(host=host, port=port, data_dir=data_dir, workers=workers, upstream_url=upstream)
        if detach:
            _up_in_background(chosen, only_env=print_env)
            return
        child.log_to_file(chosen, "up")
        from watchllm_proxy.app import run_up

        run(run_up(with_local_access(chosen), Announcement(only_env=print_env)))


@app.command()
def down(
    data_dir: DataDir = None,
    now: Annotated[bool, typer.Option("--now", help="Cut open answers instead of letting them finish.")] = False,
) -> None:
    """Stop the `watchllm up` of this data directory, wherever it was started, and wait until all is stored."""
    with errors_told():
        chosen = settings.load(data_dir=data_dir)
        from watchllm_proxy import background

        found, terminal = background.running(chosen.data_dir), Terminal()
        if found is None:
            raise NotFound(f"no `watchllm up` is running on {chosen.data_dir}")
        terminal.say(f"Stopping pid {found.pid}: open answers finish, then the rest is stored.", style="dim")
        if not background.stop(found, chosen, now=now):
            raise CommandFailed(f"pid {found.pid} has not ended yet; `watchllm down --now` cuts open answers")
        terminal.say("Stopped; nothing is lost.")


@app.command()
def demo(
    host: Host = None,
    port: Port = None,
    leave: Annotated[
        bool, typer.Option("--exit", help="End with status 0 once the runs are stored and shown.")
    ] = False,
) -> None:
    """Run sample agents against a scripted model through the real proxy and show their runs. No key needed."""
    with errors_told():
        from watchllm_proxy.demonstration import run_demo

        run(run_demo(host=host, port=port, leave=leave))


reading.add_to(app)  # here, for `--help` lists in this order: what a newcomer needs comes first
comparing.add_to(app)
doctor.add_to(app)
keys.add_to(app)
provider_keys.add_to(app)
users.add_to(app)
redaction.add_to(app)
pricing.add_to(app)
plans.add_to(app)
thresholds.add_to(app)
dead.add_to(app)
keeping.add_to(app)


@app.command()
def proxy(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    worker: Annotated[str, typer.Option(help="Name of this worker: its capture log's directory.")] = "w0",
) -> None:
    """Run one proxy worker alone: forwards and captures; needs no database."""
    with errors_told():
        chosen = settings.load(host=host, port=port, data_dir=data_dir)
        logs.configure(chosen.log_level, worker)
        from watchllm_proxy.worker import run_proxy

        run(run_proxy(chosen, worker=worker, is_child=False))


@app.command()
def recorder() -> None:
    """Run the recorder alone: reads the capture logs below the data directory and stores what they hold."""
    _run_core("recorder", recorder=True, console=False)


@app.command()
def console() -> None:
    """Run the console alone: the JSON API and the dashboard, on the socket that the proxy passes requests to."""
    _run_core("console", recorder=False, console=True)


@app.command()
def migrate() -> None:
    """Bring both stores to today's schema. Safe to repeat, and while another version runs."""
    with errors_told():
        chosen = settings.load()
        from watchllm_proxy.stores import run_migrations

        terminal = Terminal()
        for line in run(run_migrations(chosen)):
            terminal.say(line)


replaying.add_to(app)


@app.command()
def version() -> None:
    """Print the version."""
    Terminal().line(__version__)


def _up_in_background(chosen: Settings, *, only_env: bool) -> None:
    """Twice is once: what runs there is found again, so `eval "$(watchllm up -d --print-env)"` may be repeated."""
    from watchllm_proxy import background

    found = background.running(chosen.data_dir)
    was_running = found is not None
    if found is None:
        found = background.start(chosen)
    told = Announcement(only_env=only_env)
    told.in_background(found.url, chosen.upstream_url, found.pid, was_running=was_running)


def _run_core(name: str, *, recorder: bool, console: bool) -> None:
    with errors_told():
        chosen = settings.load()
        logs.configure(chosen.log_level, name)
        from watchllm_proxy.core import run_core

        run(run_core(chosen, recorder=recorder, console=console, is_child=False))


def run(main: Coroutine[Any, Any, T]) -> T:
    return uvloop.run(main)


def main() -> None:
    """Entry point of the console script."""
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        app()
