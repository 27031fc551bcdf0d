"""`watchllm dead list | show | retry | drop`: records that could not be stored, and what to do about them.

They lie in Postgres, so these commands ask it themselves: the recorder need not run for any of them but `retry`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

import typer
from rich.text import Text

from watchllm_proxy import settings
from watchllm_proxy.commands import options
from watchllm_proxy.commands.api_client import CommandFailed, ExitStatus, NotFound
from watchllm_proxy.commands.postgres_of import postgres_dsn
from watchllm_proxy.commands.terminal import Column, Terminal, clean, errors_told, table
from watchllm_proxy.console import formats
from watchllm_proxy.console.formats import count_of
from watchllm_proxy.outcomes import DeadLetterReason

if TYPE_CHECKING:  # the databases' drivers take a third of a second to import; `--help` need not wait for them
    from watchllm_proxy.store.dead_letters import DeadLetters, LetterInfo

T = TypeVar("T")

TAKEN_UP_WITHIN_S = 30.0
POLL_S = 0.2
SHOWN_MATCHES = 5
EVERY_ONE = 2**31 - 1

COLUMNS = (
    Column("RECORD"),
    Column("REASON"),
    Column("LOG"),
    Column("BYTES", align_right=True),
    Column("TRIED", align_right=True),
    Column("WHEN"),
    Column("DETAIL"),
)
WORDS = {
    DeadLetterReason.CORRUPT: "its bytes are whole, and no exchange can be read out of them",
    DeadLetterReason.REJECTED: "a store will never take its rows",
    DeadLetterReason.CRASHED: "thinking about it met a bug of ours; please report the detail, not the bytes",
    DeadLetterReason.DEADLY: "thinking about it ended the recorder each time: out of memory, or a bug of ours",
}

app = typer.Typer(
    name="dead", help="Records that could not be stored: look at them, try them again, give them up."
)

Records = Annotated[
    list[str] | None, typer.Argument(help="Ids of records, or the beginnings of some.", metavar="RECORD…")
]
Reason = Annotated[DeadLetterReason | None, typer.Option("--reason", help="Only those set aside for this.")]
All = Annotated[bool, typer.Option("--all", help="All of them (of --reason, where given).")]


def add_to(parent: typer.Typer) -> None:
    parent.add_typer(app)


# --- looking ----------------------------------------------------------------------------------------


@app.command("list")
def list_letters(
    *,
    reason: Reason = None,
    dropped: Annotated[bool, typer.Option("--dropped", help="Those that were given up, too.")] = False,
    as_json: options.Json = False,
    as_ndjson: options.Ndjson = False,
) -> None:
    """List records that were set aside, oldest first."""
    with errors_told("/runs", is_data=as_json or as_ndjson):
        terminal = Terminal()
        found = _run(_listed(reason, with_dropped=dropped))
        if as_json:
            terminal.json({"dead_letters": [_document(letter) for letter in found]})
        elif as_ndjson:
            for letter in found:
                terminal.json(_document(letter))
        elif found:
            now_us = time.time_ns() // 1000
            for line in table(COLUMNS, [_cells(letter, now_us) for letter in found]):
                terminal.line(line)
        else:
            terminal.say("None: every record that was read is stored.")


@app.command()
def show(
    record: Annotated[str, typer.Argument(help="Id of a record, or the beginning of one.")],
    *,
    save: Annotated[
        Path | None,
        typer.Option("--save", help="Write its bytes to this new file, readable by you alone. They hold prompts."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show why a record was set aside and what exchange it is of: never a body, a header's value or a query."""
    with errors_told("/runs", is_data=as_json):
        letter, payload = _run(_found(record))
        if save is not None:
            _save(save, payload)
        terminal = Terminal()
        document = {**_document(letter), "exchange": _exchange(payload) if payload else None}
        if as_json:
            terminal.json(document)
            return
        for line in _description(letter, document["exchange"]):
            terminal.line(line)


# --- doing ------------------------------------------------------------------------------------------


@app.command()
def retry(
    records: Records = None,
    *,
    reason: Reason = None,
    all_: All = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the recorder has tried, and tell how it went.")
    ] = True,
    as_json: options.Json = False,
) -> None:
    """Have the recorder try records again, each stored once at most. Exit status 1: not all are stored."""
    with errors_told("/runs", is_data=as_json):
        terminal = Terminal()
        asked, waiting, again = _run(_retried(_chosen(records, reason, all_=all_), reason, wait=wait))
        stored = [record_id for record_id in asked if wait and record_id not in {*waiting, *again}]
        if as_json:
            terminal.json({"asked": asked, "stored": stored, "set_aside_again": again, "waiting": waiting})
        else:
            _tell_retried(terminal, asked, stored, again)
        if wait and len(stored) < len(asked):
            raise typer.Exit(ExitStatus.ERROR)


def _tell_retried(
    terminal: Terminal, asked: Sequence[UUID], stored: Sequence[UUID], again: Sequence[UUID]
) -> None:
    if not asked:
        terminal.say("There is none to try again.")
        return
    if stored:
        terminal.say(f"{count_of(len(stored), 'record')} stored.", style="green")
    if again:
        terminal.say(f"{count_of(len(again), 'record')} set aside again: `watchllm dead list`.", style="red")
    if left := len(asked) - len(stored) - len(again):
        terminal.say(f"{count_of(left, 'record')} asked for: the recorder takes them up when it runs.")


@app.command()
def drop(
    records: Records = None,
    *,
    reason: Reason = None,
    all_: All = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: options.Json = False,
) -> None:
    """Delete the bytes of records for good; that they were given up stays counted."""
    with errors_told("/runs", is_data=as_json):
        terminal = Terminal()
        chosen = _run(_to_drop(_chosen(records, reason, all_=all_), reason))
        if not chosen:
            terminal.say("There is none to drop.")
        elif not yes and not _is_meant(len(chosen)):
            terminal.say("Nothing was dropped.")
            raise typer.Exit(ExitStatus.ERROR)
        dropped = _run(_dropped(chosen)) if chosen else []
        if as_json:
            terminal.json({"dropped": dropped})
        elif chosen:
            terminal.say(f"{count_of(len(dropped), 'record')} dropped.")
        if len(dropped) < len(chosen):
            kept = count_of(len(chosen) - len(dropped), "record")
            raise CommandFailed(f"{kept} not dropped: to be tried again, or stored meanwhile")


def _is_meant(count: int) -> bool:
    return typer.confirm(f"Delete the bytes of {count_of(count, 'record')} for good?", err=True)


def _chosen(records: Sequence[str] | None, reason: DeadLetterReason | None, *, all_: bool) -> list[str] | None:
    """The ids given; None stands for all. Which ones must be said: none of these commands guesses."""
    if bool(records) == all_ or (records and reason):
        raise CommandFailed("say which: ids of records, or --all with or without --reason", ExitStatus.USAGE)
    return list(records) if records else None


# --- in Postgres ------------------------------------------------------------------------------------


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@contextlib.asynccontextmanager
async def _letters() -> AsyncIterator[DeadLetters]:
    from watchllm_proxy.store.dead_letters import DeadLetters  # noqa: PLC0415
    from watchllm_proxy.store.postgres import RunStore  # noqa: PLC0415

    runs = await RunStore.open(_dsn())
    try:
        yield DeadLetters(runs.pool)
    finally:
        await runs.close()


def _dsn() -> str:
    loaded = settings.load()
    found = postgres_dsn(loaded)
    if found is None:
        raise CommandFailed(
            f"Postgres is not running on {loaded.data_dir}: start `watchllm up`, or name a server with "
            "WATCHLLM_DATABASE_URL"
        )
    return found


async def _listed(reason: DeadLetterReason | None, *, with_dropped: bool = False) -> list[LetterInfo]:
    async with _letters() as letters:
        return await letters.listed(reason=reason, with_dropped=with_dropped)


async def _found(record: str) -> tuple[LetterInfo, bytes]:
    """The letter and its bytes, empty where they were dropped."""
    async with _letters() as letters:
        letter = await _match(letters, record)
        return letter, await letters.payload(letter.record_id) or b""


async def _retried(
    records: list[str] | None, reason: DeadLetterReason | None, *, wait: bool
) -> tuple[list[UUID], list[UUID], list[UUID]]:
    """Those asked for; those of them that the recorder has not come to; those it set aside again."""
    async with _letters() as letters:
        wanted = [letter.record_id for letter in await _select(letters, records, reason)]
        asked = await letters.ask_again(wanted, time.time_ns() // 1000)
        deadline = time.monotonic() + (TAKEN_UP_WITHIN_S if wait else 0.0)
        while True:
            left = await letters.still_there(asked)
            waiting = [letter.record_id for letter in left if letter.is_wanted]
            if not waiting or time.monotonic() > deadline:
                return asked, waiting, [letter.record_id for letter in left if not letter.is_wanted]
            await asyncio.sleep(POLL_S)


async def _to_drop(records: list[str] | None, reason: DeadLetterReason | None) -> list[UUID]:
    async with _letters() as letters:
        chosen = await _select(letters, records, reason)
        return [letter.record_id for letter in chosen if letter.dropped_at_us is None]


async def _dropped(record_ids: Sequence[UUID]) -> list[UUID]:
    async with _letters() as letters:
        return await letters.drop(record_ids, time.time_ns() // 1000)


async def _select(
    letters: DeadLetters, records: list[str] | None, reason: DeadLetterReason | None
) -> list[LetterInfo]:
    if records is None:
        return await letters.listed(reason=reason, limit=EVERY_ONE)
    found = [await _match(letters, record) for record in records]
    return list({letter.record_id: letter for letter in found}.values())


async def _match(letters: DeadLetters, prefix: str) -> LetterInfo:
    """The only letter whose id begins so."""
    found = await letters.beginning_with(prefix, SHOWN_MATCHES + 1)
    if not found:
        raise NotFound(f"there is no dead letter {clean(prefix)!r}; `watchllm dead list` lists them")
    if len(found) > 1:
        some = ", ".join(str(letter.record_id) for letter in found[:SHOWN_MATCHES])
        raise CommandFailed(f"several begin with {clean(prefix)!r}: {some}. Type more of it.", ExitStatus.USAGE)
    return found[0]


# --- in words ---------------------------------------------------------------------------------------


def _document(letter: LetterInfo) -> dict[str, object]:
    return {
        "record_id": letter.record_id,
        "log": letter.log_name,
        "reason": letter.reason,
        "detail": letter.detail,
        "payload_bytes": letter.payload_bytes,
        "attempts": letter.attempts,
        "at": _instant(letter.at_us),
        "is_waiting_for_retry": letter.is_wanted,
        "dropped_at": None if letter.dropped_at_us is None else _instant(letter.dropped_at_us),
    }


def _instant(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cells(letter: LetterInfo, now_us: int) -> list[Text]:
    return [
        Text(str(letter.record_id)),
        Text(letter.reason if letter.dropped_at_us is None else "dropped", style="red"),
        Text(clean(letter.log_name)),
        Text(str(letter.payload_bytes)),
        Text(str(letter.attempts)),
        Text(formats.ago(letter.at_us, now_us)),
        Text("waiting to be tried again" if letter.is_wanted else clean(letter.detail)),
    ]


def _description(letter: LetterInfo, exchange: object) -> list[str]:
    state = "dropped: its bytes are deleted" if letter.dropped_at_us is not None else WORDS[letter.reason]
    told = [
        ("record", str(letter.record_id)),
        ("log", clean(letter.log_name)),
        ("reason", f"{letter.reason}: {state}"),
        ("detail", clean(letter.detail)),
        ("tried", f"{count_of(letter.attempts, 'time')}, last at {_instant(letter.at_us)}"),
        ("bytes", str(letter.payload_bytes)),
    ]
    if isinstance(exchange, dict):
        told += [(name.replace("_", " "), clean(str(value))) for name, value in exchange.items()]
    return [f"{name:<15} {value}" for name, value in told if value]


def _exchange(payload: bytes) -> dict[str, object] | None:
    """What the record says of its exchange that cannot be a secret: no query, no value of a header, no body."""
    from watchllm_proxy.capture.payload import unpack_any  # noqa: PLC0415
    from watchllm_proxy.errors import CaptureLogError  # noqa: PLC0415
    from watchllm_proxy.records import Report  # noqa: PLC0415

    try:
        exchange = unpack_any(payload)
    except CaptureLogError:
        return None
    if isinstance(exchange, Report):
        return {
            "project": exchange.project_id,
            "report": exchange.kind.value,
            "received": _instant(exchange.received_at_us),
            "body_bytes": len(exchange.body),
        }
    return {
        "project": exchange.project_id,
        "request": f"{exchange.method} {exchange.target.partition('?')[0]}",
        "answer": exchange.status if exchange.status is not None else exchange.end.value,
        "started": _instant(exchange.started_at_us),
        "request_bytes": exchange.request_body.size_bytes,
        "answer_bytes": exchange.response_body.size_bytes,
        "request_headers": " ".join(name for name, _ in exchange.request_headers),
        "answer_headers": " ".join(name for name, _ in exchange.response_headers),
    }


def _save(path: Path, payload: bytes) -> None:
    if not payload:
        raise CommandFailed("its bytes were dropped")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as exc:
        raise CommandFailed(f"{path}: {exc.strerror}") from exc
    with os.fdopen(descriptor, "wb") as file:
        file.write(payload)
