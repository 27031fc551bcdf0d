"""CONDUCTOR of export and import: runs with all that belongs to them, as lines of JSON, out of both stores and in.

    {"watchllm":"export","version":1,"project_id":"default"}
    {"table":"agent_debug_logs","row":{…}}          a run, then its steps, explanations and links,
    {"table":"messages","row":{…}}                  then its messages, exact bodies, calls and reported events
    {"end":{"runs":1,"lines":9,"sha256":"…"}}       of all lines before: a file that was cut short has none

A run's own rows and messages are in memory at a time, not more (its calls 200 at a time). Nothing in it depends on
when it is made, so what was imported is exported as the same bytes. While a recorder works, each run is read
between two of its batches: both stores then say the same of it.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import IO, BinaryIO

import orjson

from watchllm_proxy.errors import WatchLLMError
from watchllm_proxy.store.transfer import EVENT_TABLES, RUN_TABLE, Document, EventRows, RunRows, row_of

VERSION = 1
_ROW = b'{"table":"%s","row":'
RUN_LINE = _ROW % RUN_TABLE.encode()
"""A run begins where a line begins so."""

_LINES_AT_ONCE = 500
_MAX_LINE_BYTES = 512 * 1024 * 1024
_IN_MEMORY_BYTES = 8 * 1024 * 1024
_PIECE_BYTES = 256 * 1024

AtRest = Callable[[], AbstractAsyncContextManager[object]]
"""While it is held, nobody writes runs or calls."""

Told = Callable[[int, int], None]
"""Progress: runs done, runs in all."""


class ExportDamaged(WatchLLMError):
    """The file is no whole export: cut short, changed, or of a newer version. Nothing of it was imported.

    Or its checksum is right, but rows of it are none: what stood before them was.
    """


@dataclass(slots=True)
class Imported:
    """What came of the runs of a file. `differing`: there is another run of that id, which stays."""

    runs: int = 0
    there_already: int = 0
    differing: int = 0


# --- out --------------------------------------------------------------------------------------------


async def export(
    runs: RunRows, events: EventRows, run_ids: Sequence[str] | None, out: BinaryIO, told: Told
) -> int:
    """Write them, oldest first, all of them for None; returns how many runs there were."""
    done = 0

    def told_and_counted(runs_done: int, total: int) -> None:
        nonlocal done
        done = runs_done
        told(runs_done, total)

    async for piece in exported(runs, events, run_ids, told_and_counted):
        out.write(piece)
    out.flush()
    return done


async def exported(
    runs: RunRows, events: EventRows, run_ids: Sequence[str] | None, told: Told, at_rest: AtRest = nullcontext
) -> AsyncIterator[bytes]:
    """The export in pieces. Each run is read as a whole while `at_rest` is held, and waits on the disk for whoever
    takes the pieces, who may be slow."""
    total, done, lines, digest = await runs.count(run_ids), 0, 0, hashlib.sha256()
    header = orjson.dumps({"watchllm": "export", "version": VERSION, "project_id": runs.project_id}) + b"\n"
    digest.update(header)
    yield header
    async for run_id in runs.run_ids(run_ids):
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as spool:
            async with at_rest():
                lines_of_run = await _write_run(runs, events, run_id, spool)
            if not lines_of_run:
                continue  # it was erased since we looked
            spool.seek(0)
            while piece := spool.read(_PIECE_BYTES):
                digest.update(piece)
                yield piece
        lines += lines_of_run
        done += 1
        told(done, total)
    yield orjson.dumps({"end": {"runs": done, "lines": lines, "sha256": digest.hexdigest()}}) + b"\n"


async def _write_run(runs: RunRows, events: EventRows, run_id: str, out: IO[bytes]) -> int:
    """How many lines it has; 0 where it is not there."""
    row = await runs.known(run_id)
    if row is None:
        return 0
    written = [out.write(_line(RUN_TABLE, row.encode()))]
    written += [out.write(_line(table, part.encode())) for table, part in await runs.parts(run_id)]
    for pages in (events.calls(run_id), events.told(run_id)):
        async for page in pages:
            written += [out.write(_line(table, orjson.dumps(document))) for table, document in page]
    return len(written)


def _line(table: str, row: bytes) -> bytes:
    return _ROW % table.encode() + row + b"}\n"


# --- in ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Contents:
    """What a whole export says of itself."""

    project_id: str
    runs: int


def check(file: BinaryIO) -> Contents:
    """Read it through once. Raises `ExportDamaged` unless it is whole and unchanged."""
    digest, lines, runs, header, end = hashlib.sha256(), -1, 0, b"", None
    for line in _lines(file):
        if end is not None:
            raise ExportDamaged("there are lines behind its end")
        header = header or line
        if line.startswith(b'{"end":'):
            end = line
            continue
        runs += line.startswith(_ROW % RUN_TABLE.encode())
        lines += 1
        digest.update(line)
    if end is None:
        raise ExportDamaged("its end is missing: it was cut short")
    said = {"end": {"runs": runs, "lines": lines, "sha256": digest.hexdigest()}}
    if end != orjson.dumps(said) + b"\n":
        raise ExportDamaged("it is not what was exported: its checksum is another")
    return Contents(_project_of(header), runs)


def _project_of(header: bytes) -> str:
    try:
        found = orjson.loads(header)
        version, project_id = found["version"], found["project_id"]
    except (ValueError, KeyError, TypeError) as exc:
        raise ExportDamaged("it does not begin like an export of watchllm") from exc
    if version != VERSION:
        raise ExportDamaged(f"it is of version {version}; this watchllm reads version {VERSION}")
    return str(project_id)


async def import_(runs: RunRows, events: EventRows, file: BinaryIO, total: int, told: Told) -> Imported:
    """Take over the runs of a file that was checked. Done again it changes nothing, so it may be cut short."""
    found = Imported()
    done = 0
    try:
        for done, lines in enumerate(_runs(_lines(file)), start=1):
            await _import_run(runs, events, lines, found)
            told(done, total)
    except (ValueError, KeyError, TypeError) as exc:
        raise ExportDamaged(
            f"run {done} of it is none that watchllm wrote; those before it were taken over"
        ) from exc
    return found


async def _import_run(
    runs: RunRows, events: EventRows, lines: Iterable[tuple[str, bytes]], found: Imported
) -> None:
    """Calls first and the run last: a run that is there is whole."""
    rest = iter(lines)
    _, own = next(rest)
    run = row_of(own.decode())
    known = await runs.known(str(run["run_id"]))
    if known is not None:
        is_same = {**row_of(known), "project_id": None} == {**run, "project_id": None}
        found.there_already += is_same
        found.differing += not is_same
        for _ in rest:
            pass
        return
    parts, page, last = [(RUN_TABLE, own.decode())], list[tuple[str, Document]](), ""
    for table, row in rest:
        if table not in EVENT_TABLES:
            parts.append((table, row.decode()))
            continue
        if last == "events" != table and len(page) >= _LINES_AT_ONCE:  # what is held stands before who holds it
            await events.keep(page)
            page = [
                each for each in page if each[0] == "messages"
            ]  # later calls may hold them in another partition
        page.append((table, row_of(row.decode())))
        last = table
    await events.keep(page)
    await runs.keep(parts)
    found.runs += 1


def _runs(lines: Iterator[bytes]) -> Iterator[Iterator[tuple[str, bytes]]]:
    """(table, row) of one run after the other. Each is to be read to its end before the next."""
    next(lines)  # the header
    ahead = next(lines)

    def of_run(first: bytes) -> Iterator[tuple[str, bytes]]:
        nonlocal ahead
        yield _split(first)
        for ahead in lines:
            if ahead.startswith((_ROW % RUN_TABLE.encode(), b'{"end":')):
                return
            yield _split(ahead)

    while not ahead.startswith(b'{"end":'):
        yield of_run(ahead)


def _split(line: bytes) -> tuple[str, bytes]:
    """Table and row, as they stand there: a number that is parsed may be another one."""
    table, _, row = line.removeprefix(b'{"table":"').partition(b'","row":')
    return table.decode(), row.removesuffix(b"}\n")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(_MAX_LINE_BYTES):
        if not line.endswith(b"\n"):
            raise ExportDamaged("its last line is cut short")
        yield line
