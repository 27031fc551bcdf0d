"""`watchllm dead` on a real Postgres: what is shown of a record that could not be stored, and what may be done."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from tests.capture_records import make_exchange
from watchllm_proxy.capture.payload import pack
from watchllm_proxy.cli import app
from watchllm_proxy.commands import dead
from watchllm_proxy.outcomes import DeadLetterReason
from watchllm_proxy.records import BatchBounds, RunChanges
from watchllm_proxy.store.postgres import DeadLetter, RunStore

SECRET = "sk-or-v1-0123456789abcdef"
IDS = [UUID(int=0xAAAA << 112), UUID(int=0xAABB << 112), UUID(int=0xCC << 120)]

Watchllm = Callable[..., Result]


def in_thread(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(work())))
    thread.start()
    thread.join()
    return found[0]


@pytest.fixture
def letters(postgres_dsn: str) -> Sequence[DeadLetter]:
    """One of each reason; the second is of an exchange that holds a secret wherever one can stand."""
    exchange = replace(
        make_exchange(b'{"key": "%s"}' % SECRET.encode(), SECRET.encode(), IDS[1]),
        target=f"/v1/chat/completions?key={SECRET}",
        request_headers=(("X-Custom-Token", SECRET), ("Content-Type", "application/json")),
    )
    made = [
        DeadLetter("w0", IDS[0], DeadLetterReason.CORRUPT, "no record", b"\xff\x00"),
        DeadLetter("w0", IDS[1], DeadLetterReason.CRASHED, "KeyError", b"".join(pack(exchange))),
        DeadLetter("w1", IDS[2], DeadLetterReason.REJECTED, "ClickHouse refuses", b"\x01"),
    ]

    async def set_aside() -> None:
        runs = await RunStore.open(postgres_dsn)
        await runs.commit_batch(BatchBounds({}, {}, 1_790_000_000_000_000), RunChanges(), {}, {}, made)
        await runs.close()

    in_thread(set_aside)
    return made


@pytest.fixture
def watchllm(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Watchllm:
    monkeypatch.setenv("WATCHLLM_DATABASE_URL", postgres_dsn)

    def invoke(*words: str, typed: str = "") -> Result:
        result = CliRunner().invoke(app, ["dead", *words], input=typed)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert SECRET not in result.output + result.stderr
        return result

    return invoke


def test_with_none_it_says_so_and_ends_well(watchllm: Watchllm) -> None:
    listed = watchllm("list")
    assert (listed.exit_code, listed.stdout) == (0, "")
    assert "stored" in listed.stderr
    assert watchllm("retry", "--all").exit_code == 0
    assert watchllm("drop", "--all").exit_code == 0
    assert json.loads(watchllm("list", "--json").stdout) == {"dead_letters": []}


def test_the_list_tells_why_each_was_set_aside(watchllm: Watchllm, letters: Sequence[DeadLetter]) -> None:
    heading, *lines = watchllm("list").stdout.splitlines()
    assert heading.split() == ["RECORD", "REASON", "LOG", "BYTES", "TRIED", "WHEN", "DETAIL"]
    assert [line.split()[:3] for line in lines] == [
        [str(each.record_id), each.reason, each.log_name] for each in letters
    ]
    (crashed,) = watchllm("list", "--reason", "crashed", "--ndjson").stdout.splitlines()
    assert json.loads(crashed)["record_id"] == str(IDS[1])
    assert json.loads(crashed)["at"].endswith("Z")


def test_show_tells_the_exchange_and_no_secret_of_it(
    watchllm: Watchllm, letters: Sequence[DeadLetter], tmp_path: Path
) -> None:
    told = watchllm("show", "aabb").stdout
    assert "POST /v1/chat/completions" in told
    assert "X-Custom-Token" in told, "the names of headers are told, not their values"
    assert "KeyError" in told
    document = json.loads(watchllm("show", "aabb", "--json").stdout)
    assert document["exchange"]["answer"] == 200
    assert json.loads(watchllm("show", "aaaa", "--json").stdout)["exchange"] is None
    saved = tmp_path / "record"
    assert watchllm("show", "aabb", "--save", str(saved)).exit_code == 0
    assert saved.read_bytes() == letters[1].payload
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    again = watchllm("show", "aabb", "--save", str(saved))
    assert again.exit_code == 1, "no file is overwritten"


@pytest.mark.parametrize("word", ["show", "retry", "drop"])
def test_an_id_that_is_unknown_or_not_enough_is_told_apart(
    watchllm: Watchllm, letters: Sequence[DeadLetter], word: str
) -> None:
    assert watchllm(word, "dddd").exit_code == 3
    vague = watchllm(word, "aa")
    assert vague.exit_code == 2
    assert {str(IDS[0]), str(IDS[1])} <= set(vague.stderr.replace(",", " ").replace(".", " ").split())


@pytest.mark.parametrize("word", ["retry", "drop"])
@pytest.mark.parametrize("given", [[], ["aaaa", "--all"], ["aaaa", "--reason", "crashed"]])
def test_which_ones_must_be_said(
    watchllm: Watchllm, letters: Sequence[DeadLetter], word: str, given: list[str]
) -> None:
    assert watchllm(word, *given).exit_code == 2


def test_drop_asks_first_and_leaves_a_mark(watchllm: Watchllm, letters: Sequence[DeadLetter]) -> None:
    refused = watchllm("drop", "cc", typed="n\n")
    assert refused.exit_code == 1
    assert len(watchllm("list", "--ndjson").stdout.splitlines()) == 3
    assert watchllm("drop", "cc", typed="y\n").exit_code == 0
    assert json.loads(watchllm("drop", "aaaa", "--yes", "--json").stdout) == {"dropped": [str(IDS[0])]}
    assert len(watchllm("list", "--ndjson").stdout.splitlines()) == 1
    dropped = [json.loads(line) for line in watchllm("list", "--dropped", "--ndjson").stdout.splitlines()]
    assert [each["dropped_at"] is not None for each in dropped] == [True, False, True]
    assert watchllm("show", "cc", "--save", "nowhere").exit_code == 1


def test_retry_without_a_recorder_is_noted_and_told(
    watchllm: Watchllm, letters: Sequence[DeadLetter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead, "TAKEN_UP_WITHIN_S", 0.0)
    waiting = watchllm("retry", "--all", "--reason", "crashed", "--json")
    assert waiting.exit_code == 1
    assert json.loads(waiting.stdout) == {
        "asked": [str(IDS[1])],
        "stored": [],
        "set_aside_again": [],
        "waiting": [str(IDS[1])],
    }
    assert watchllm("retry", "cc", "--no-wait").exit_code == 0
    assert "waiting to be tried again" in watchllm("list").stdout
    kept = watchllm("drop", "--all", "--yes")
    assert kept.exit_code == 1
    assert "2 records not dropped" in kept.stderr


def test_retry_tells_what_became_of_each(
    watchllm: Watchllm, letters: Sequence[DeadLetter], postgres_dsn: str
) -> None:
    async def recorder() -> None:
        """Stands for one: the first is stored, the second is set aside again."""
        connection = await asyncpg.connect(postgres_dsn)
        while not await connection.fetchval("SELECT bool_and(retry_requested_at IS NOT NULL) FROM dead_letters"):
            await asyncio.sleep(0.02)
        await connection.execute("DELETE FROM dead_letters WHERE record_id <> $1", IDS[0])
        await connection.execute("UPDATE dead_letters SET retry_requested_at = NULL, attempts = 2")
        await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(recorder()))
    thread.start()
    result = watchllm("retry", "--all")
    thread.join()
    assert result.exit_code == 1
    assert "2 records stored." in result.stderr
    assert "1 record set aside again" in result.stderr


def test_without_a_postgres_it_says_what_to_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WATCHLLM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("WATCHLLM_DATABASE_URL", raising=False)
    result = CliRunner().invoke(app, ["dead", "list"])
    assert result.exit_code == 1
    assert "watchllm up" in result.stderr
    assert not (tmp_path / "data").exists()
