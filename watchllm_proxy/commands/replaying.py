"""`watchllm replay`: a recorded corpus is grouped into runs; or stored calls are, again, into the same rows."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from watchllm_proxy import logs, settings
from watchllm_proxy.commands import options
from watchllm_proxy.commands.api_client import CommandFailed, ExitStatus
from watchllm_proxy.commands.keeping import progress
from watchllm_proxy.commands.terminal import Terminal, errors_told
from watchllm_proxy.console.formats import count_of
from watchllm_proxy.records import DEFAULT_PROJECT_ID


def add_to(app: typer.Typer) -> None:
    app.command()(replay)


def replay(
    corpus: Annotated[
        Path | None, typer.Argument(help="Recorded exchanges, one JSON object a line (.jsonl or .jsonl.gz).")
    ] = None,
    *,
    assignments: Annotated[
        Path | None, typer.Option("--assignments", help="Write to this file instead of stdout.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--from", help="Stored calls from then on: 7d, 12h, or a date like 2026-01-31.", metavar="WHEN"
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--to", help="Stored calls before then. Not given: all that are settled.", metavar="WHEN"),
    ] = None,
    project: Annotated[str, typer.Option("--project", help="Stored calls of this project.")] = DEFAULT_PROJECT_ID,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many calls would change their run.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Group a recorded corpus into runs, one line of JSON per exchange; or stored calls again, as of today.

    With --from today's rules and prices hold, and no recorder may run. Cut short it goes on when it
    is asked for the same dates.
    """
    with errors_told("/runs", is_data=as_json):
        if (corpus is None) == (since is None):
            raise CommandFailed("Give a corpus, or --from for calls that are stored.", ExitStatus.USAGE)
        if corpus is not None:
            _group(corpus, assignments)
        elif since is not None:
            _think_again(since, until, project, is_dry=dry_run, as_json=as_json)


def _group(corpus: Path, assignments: Path | None) -> None:
    from watchllm_proxy.replay import write_assignments  # noqa: PLC0415

    if assignments is None:
        write_assignments(corpus, sys.stdout)
        return
    with assignments.open("w", encoding="utf-8") as out:
        count = write_assignments(corpus, out)
    Terminal().say(f"{count} exchanges of {corpus} assigned in {assignments}")


def _think_again(since: str, until: str | None, project: str, *, is_dry: bool, as_json: bool) -> None:
    from watchllm_proxy.upkeep import backfill  # noqa: PLC0415

    logs.configure("warning", "upkeep")
    terminal = Terminal()
    now = datetime.now(UTC)
    from_us = options.instant_us(since, "--from", now)
    to_us = options.instant_us(until or now.isoformat(), "--to", now)
    if to_us <= from_us:
        raise CommandFailed("--to must be after --from.", ExitStatus.USAGE)
    with progress(terminal, "thought about") as told:
        done = asyncio.run(backfill(settings.load(), project, from_us, to_us, told, is_dry=is_dry))
    if as_json:
        found = {"calls": done.thought_calls, "moved": done.moved_calls, "repriced": done.repriced_calls}
        terminal.json(
            {**found, "left": done.left_calls, "is_dry": is_dry, "done_until": _written(done.done_until_us)}
        )
        return
    would = "would change" if is_dry else "changed"
    terminal.line(
        f"{count_of(done.thought_calls, 'call')} thought about again: {done.moved_calls:,} {would} their run."
    )
    if done.repriced_calls:
        costs = "would cost" if is_dry else "cost"
        terminal.line(f"{count_of(done.repriced_calls, 'call')} {costs} another sum by today's prices.")
    if done.left_calls:
        terminal.line(
            f"{count_of(done.left_calls, 'call')} left as they were: not all of their runs can be thought about."
        )
    if done.done_until_us < to_us:
        terminal.say(f"Done for calls before {_written(done.done_until_us)}; later ones may still be continued.")


def _written(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
