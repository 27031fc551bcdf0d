"""Export and import: all of a run, to the byte, into stores that are empty or not; a damaged file is refused."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import orjson
import pytest

from tests.integration.conductors.recording import Recording, Running, chat, until_true
from tests.integration.store.stored_calls import count, orphans
from watchllm_proxy.records import DEFAULT_PROJECT_ID
from watchllm_proxy.store import erasures
from watchllm_proxy.store.retention import Retention
from watchllm_proxy.store.transfer import EventRows, RunRows
from watchllm_proxy.transferring import RUN_LINE, ExportDamaged, Imported, check, export, import_


def rows(recording: Recording, project: str = DEFAULT_PROJECT_ID) -> tuple[RunRows, EventRows]:
    return RunRows(recording.runs.pool, project), EventRows(recording.events, project, Retention(90))


async def exported(recording: Recording, run_ids: list[str] | None = None) -> bytes:
    out, told = io.BytesIO(), list[tuple[int, int]]()
    done = await export(*rows(recording), run_ids, out, lambda done, total: told.append((done, total)))
    assert [number for number, _ in told] == list(range(1, done + 1))
    return out.getvalue()


async def imported(recording: Recording, content: bytes, project: str = DEFAULT_PROJECT_ID) -> Imported:
    file = io.BytesIO(content)
    contents = check(file)
    file.seek(0)
    return await import_(*rows(recording, project), file, contents.runs, lambda done, total: None)


async def recorded(recording: Recording) -> None:
    """Three runs, one of more calls than a page has."""
    async with Running(recording.recorder()):
        await recording.write([chat(n, run="long") for n in range(230)])
        await recording.write([chat(n, run=f"run-{n % 2}") for n in range(6)])
        await until_true(lambda: recording.count_of("agent_debug_logs", 3), "three runs")
        await until_true(lambda: recording.count_of("capture_offsets", 1), "their offsets")


async def emptied(recording: Recording) -> None:
    await erasures.erase_project(recording.runs.pool, DEFAULT_PROJECT_ID)
    for table in ("events", "messages", "raw_exchanges"):
        await recording.events.execute(f"TRUNCATE TABLE {table}")


async def test_what_was_exported_comes_back_to_the_byte(recording: Recording) -> None:
    await recorded(recording)
    first = await exported(recording)
    await emptied(recording)
    assert await imported(recording, first) == Imported(runs=3)
    assert await exported(recording) == first
    assert (count(recording.store, "events"), count(recording.store, "messages")) == (236, 460)
    assert orphans(recording.store) == (0, 0)


only_embedded = pytest.mark.parametrize("empty_event_store", ["embedded"], indirect=True)


@only_embedded
async def test_again_is_no_harm_and_a_run_that_differs_stays(recording: Recording) -> None:
    await recorded(recording)
    content = await exported(recording, ["run-0", "run-1"])
    assert await imported(recording, content) == Imported(there_already=2)
    await recording.runs.pool.execute("UPDATE agent_debug_logs SET title = 'mine' WHERE run_id = 'run-1'")
    assert await imported(recording, content) == Imported(there_already=1, differing=1)
    assert await recording.in_postgres("SELECT title FROM agent_debug_logs WHERE run_id = 'run-1'") == "mine"
    assert await recording.count("events") == 236


@only_embedded
async def test_runs_may_go_into_another_project(recording: Recording) -> None:
    await recorded(recording)
    content = await exported(recording, ["run-0"])
    await recording.runs.pool.execute(
        "INSERT INTO projects (project_id, name, created_at) VALUES ('b', 'B', now())"
    )
    assert await imported(recording, content, "b") == Imported(runs=1)
    (row,) = await recording.events.query("SELECT count() AS rows FROM events WHERE project_id = 'b'")
    assert row["rows"] == 3
    assert await recording.in_postgres("SELECT count(*) FROM run_links WHERE project_id = 'b'") == 3


@only_embedded
async def test_money_and_times_are_not_rounded(recording: Recording) -> None:
    await recorded(recording)
    await recording.runs.pool.execute(
        "UPDATE agent_debug_logs SET total_cost_usd = 123456789.000000000000000123 WHERE run_id = 'run-0'"
    )
    content = await exported(recording, ["run-0"])
    await emptied(recording)
    await imported(recording, content)
    assert str(await recording.in_postgres("SELECT total_cost_usd FROM agent_debug_logs")) == (
        "123456789.000000000000000123"
    )


@only_embedded
async def test_a_file_that_is_not_whole_is_refused(recording: Recording, tmp_path: Path) -> None:
    await recorded(recording)
    content = await exported(recording, ["run-0"])
    lines = content.splitlines(keepends=True)
    end = orjson.loads(lines[-1])["end"]
    assert (end["runs"], end["lines"]) == (1, len(lines) - 2)
    for damaged in (
        content[: len(content) // 2],
        b"".join(lines[:-1]),
        b"".join([*lines[:3], *lines[4:]]),
        content.replace(b"Question", b"question", 1),
        content + lines[1],
        content.replace(b'"version":1', b'"version":2'),
        b"",
        b"{}\n",
    ):
        with pytest.raises(ExportDamaged):
            check(io.BytesIO(damaged))


@only_embedded
@pytest.mark.parametrize(
    "line",
    [
        b'{"table":"agent_debug_logs","row":{}}\n',
        b'{"table":"agent_debug_logs","row":[1]}\n',
        b'{"table":"agent_debug_logs","row":{"run_id":"\\ud800"}}\n',
        b'{"table":"messages","row":{}}\n',
        b"hello\n",
    ],
)
async def test_rows_that_are_none_are_told_whatever_their_checksum_says(recording: Recording, line: bytes) -> None:
    await recorded(recording)
    *whole, _ = (await exported(recording, ["run-0"])).splitlines(keepends=True)
    runs = 1 + line.startswith(RUN_LINE)
    made = b"".join([*whole, line])
    if not line.startswith(RUN_LINE):
        made, runs = whole[0] + line, 0
    said = {"runs": runs, "lines": made.count(b"\n") - 1, "sha256": hashlib.sha256(made).hexdigest()}
    with pytest.raises(ExportDamaged, match="none that watchllm wrote"):
        await imported(recording, made + orjson.dumps({"end": said}) + b"\n")
