"""Full disks, stores that are away, processes that die: requests pass, nothing is lost, and it is told."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from tests.e2e.commands import WAIT_S, Command, is_alive
from tests.e2e.killing import Stored
from tests.e2e.stack import Stack
from tests.fake_openai import Canned, FakeOpenAI
from tests.fixtures.fault_proxy import FaultProxy
from watchllm_proxy.capture.committer import Committer, Record

IS_ROOT = os.geteuid() == 0
NOBODY = pwd.getpwnam("nobody")
AS_ORDINARY_USER = ("unshare", "--user", f"--map-user={NOBODY.pw_uid}", f"--map-group={NOBODY.pw_gid}")
"""As an ordinary user with the files of ours: Python and the checkout may lie where only root can go."""

as_root = pytest.mark.skipif(not IS_ROOT, reason="needs root: it mounts, or becomes another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's own, whose parents other sessions close: as root Postgres runs as another user."""
    with tempfile.TemporaryDirectory(prefix="watchllm-bad-") as made:
        os.chmod(made, 0o711)
        yield Path(made)


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as upstream:
        yield upstream


@pytest.fixture
def settings(fake: FakeOpenAI) -> dict[str, str]:
    return {"WATCHLLM_UPSTREAM_URL": fake.url, "WATCHLLM_PORT": "0"}


def up(folder: Path, settings: dict[str, str], **more: str) -> Command:
    return Command(folder, "up", environ={**settings, **more})


def assert_stored(data_dir: Path, asked: list[str]) -> None:
    stored = Stored.of(data_dir)
    stored.assert_each_once(asked)
    assert len(stored.events) == len(asked)


def assert_ended_well(command: Command) -> None:
    assert command.stop() == 0
    assert command.left_running() == []
    assert "Traceback" not in command.err


# --- it does not start, and says why ------------------------------------------------------------------


def test_wrong_settings_are_told_all_at_once_before_anything_is_made(folder: Path) -> None:
    wrong = {
        "WATCHLLM_WORKERS": "none",
        "WATCHLLM_UPSTREAM_URL": "ftp://models",
        "WATCHLLM_DATABASE_URL": "mysql://root:hunter2@db/x",
        "WATCHLLM_PROT": "8787",
    }
    command = Command(folder, "up", environ=wrong)
    assert command.run() == 2
    for name in wrong:
        assert name in command.err
    assert "hunter2" not in command.err
    assert command.out == ""
    assert not command.data_dir.exists()


def test_a_port_in_use_names_who_has_it(folder: Path, settings: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = up(folder, settings, WATCHLLM_PORT=str(port))
        assert command.run() == 1
    assert f"port {port}" in command.err
    assert f"(pid {os.getpid()})" in command.err
    assert "--port" in command.err


def test_a_second_up_on_a_data_directory_names_the_first(
    stack: Stack, folder: Path, settings: dict[str, str]
) -> None:
    command = up(folder, settings, WATCHLLM_DATA_DIR=str(stack.data_dir))
    assert command.run() == 1
    assert f"pid {stack.pid}" in command.err
    assert stack.origin in command.err
    assert str(stack.data_dir) in command.err


def test_a_data_directory_that_cannot_be_made_is_told_as_a_setting(folder: Path, settings: dict[str, str]) -> None:
    (folder / "file").write_text("")
    command = up(folder, settings, WATCHLLM_DATA_DIR=str(folder / "file" / "data"))
    assert command.run() == 2
    assert "WATCHLLM_DATA_DIR" in command.err


@as_root
def test_a_data_directory_of_somebody_else_is_told_as_a_setting(folder: Path, settings: dict[str, str]) -> None:
    data_dir = folder / "data"
    data_dir.mkdir(mode=0o755)
    os.chown(data_dir, 1, 1)
    command = Command(folder, "up", environ=settings, before=AS_ORDINARY_USER)
    assert command.run() == 2
    assert "WATCHLLM_DATA_DIR" in command.err
    assert "Traceback" not in command.err


@pytest.mark.parametrize("command", ["recorder", "console", "migrate"])
def test_parts_that_need_a_postgres_say_which_setting_names_it(
    folder: Path, settings: dict[str, str], command: str
) -> None:
    started = Command(folder, command, environ=settings)
    assert started.run() == 2
    assert "WATCHLLM_DATABASE_URL" in started.err


# --- the disk -----------------------------------------------------------------------------------------


@pytest.mark.slow
@as_root
def test_a_full_disk_costs_captures_and_no_request_and_mends_itself(
    folder: Path, settings: dict[str, str], fake: FakeOpenAI
) -> None:
    disk = folder / "data" / "capture"
    disk.mkdir(mode=0o700, parents=True)
    with mounted(disk, "4m"), up(folder, settings) as command:

        def counted() -> tuple[float, float]:
            """Captures accepted and shed, as soon as each request is one or the other."""
            found = (0.0, 0.0)

            def is_settled() -> bool:
                nonlocal found
                shed = command.metric('watchllm_capture_shed_total{reason="disk_full"}')
                found = command.metric("watchllm_capture_accepted_total"), shed
                return sum(found) == len(fake.requests)

            command.until(is_settled, "counting each capture")
            return found

        asked = [command.serving().ready().ask(0)]
        ballast = disk / "ballast"
        fill(ballast)
        while not counted()[1]:
            command.ask(1)
            assert len(fake.requests) < 200, "the disk has room for ever"
        found = command.readiness()
        assert found["status"] == "degraded"
        assert "disk_full" in found["checks"]["capture_log"]["detail"]
        accepted, shed = counted()
        for number in range(5):
            command.ask(number)
        assert counted() == (accepted, shed + 5)

        ballast.unlink()
        asked += [command.ask(number) for number in range(5)]
        assert counted() == (accepted + 5, shed + 5)
        well = command.until(lambda: command.readiness()["status"] == "ok", "saying that all is well")
        print(f"a disk with room again: captures at once, all was well after {well:.1f} s")
        assert_ended_well(command)
        stored = Stored.of(command.data_dir)
        assert set(asked) <= stored.events.keys()
        assert len(stored.events) == accepted + 5


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """A disk of its own, in memory."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


# --- what is behind the proxy -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_core_that_hangs_is_told_and_catches_up(folder: Path, settings: dict[str, str]) -> None:
    with up(folder, settings) as command:
        asked = [command.serving().ready().ask(0)]
        core = command.child("core")
        core.suspend()
        try:
            began = time.monotonic()
            asked += [command.ask(number) for number in range(50)]
            assert time.monotonic() - began < WAIT_S
            found = command.readiness()
            assert found["status"] == "degraded"
            assert "does not answer" in found["checks"]["console"]["detail"]
            assert command.metric("watchllm_capture_accepted_total") > 0
        finally:
            core.resume()
        command.until(lambda: command.readiness()["status"] == "ok", "saying that all is well")
        command.until(lambda: command.metric("watchllm_recorder_stored_calls_total") == 51, "storing the rest")
        assert_ended_well(command)
    assert_stored(command.data_dir, asked)


@pytest.mark.slow
def test_a_killed_postgres_is_started_again_and_nothing_is_lost(folder: Path, settings: dict[str, str]) -> None:
    with up(folder, settings) as command:
        asked = [command.serving().ready().ask(0)]
        dead = command.postmaster()
        assert dead is not None
        dead.kill()
        killed_at = time.monotonic()
        asked += [command.ask(number) for number in range(20)]

        def another() -> bool:
            found = command.postmaster()
            return found is not None and found.pid != dead.pid

        command.until(another, "starting Postgres again")
        command.until(lambda: command.metric("watchllm_recorder_stored_calls_total") == 21, "storing the rest")
        print(f"after the death of Postgres everything was stored within {time.monotonic() - killed_at:.1f} s")
        command.ready()
        assert_ended_well(command)
        assert any(line["event"] == "postgres.ended" for line in command.logged("up"))
    assert_stored(command.data_dir, asked)


@pytest.mark.slow
def test_up_serves_while_no_store_is_there_and_stores_when_they_come(
    folder: Path, settings: dict[str, str], servers: tuple[FaultProxy, FaultProxy, dict[str, str]]
) -> None:
    postgres, clickhouse, urls = servers
    postgres.refuse()
    clickhouse.refuse()
    began = time.monotonic()
    with up(folder, settings, **urls) as command:
        asked = [command.serving().ask(0)]
        print(f"the first request passed {time.monotonic() - began:.1f} s after the start")

        def both_told() -> bool:
            checks = command.readiness()["checks"]
            return all("away" in checks.get(store, {}).get("detail", "") for store in ("postgres", "clickhouse"))

        command.until(both_told, "naming both stores in /readyz")
        command.until(lambda: "! postgres" in command.err and "! clickhouse" in command.err, "telling the person")
        assert "dashboard" not in command.err
        asked += [command.ask(number) for number in range(1, 10)]
        with pytest.raises(urllib.request.HTTPError, match="503"):
            command.get("/api/agent-runs")

        clickhouse.restore()
        command.until(lambda: command.readiness()["checks"]["clickhouse"]["status"] == "ok", "seeing ClickHouse")
        assert "away" in command.readiness()["checks"]["postgres"]["detail"]
        postgres.restore()
        back = command.until(lambda: command.readiness()["status"] == "ok", "saying that all is well")
        print(f"all was well {back:.1f} s after the last store came")
        command.until(lambda: command.metric("watchllm_recorder_stored_calls_total") == 10, "storing the rest")
        command.until(lambda: "✓ dashboard" in command.err, "telling the person")
        assert len(command.runs()) == 10
        assert_ended_well(command)


@pytest.mark.slow
def test_up_without_stores_stops_as_told(folder: Path, settings: dict[str, str]) -> None:
    nowhere = {
        "WATCHLLM_DATABASE_URL": "postgresql://x@127.0.0.1:1/x",
        "WATCHLLM_CLICKHOUSE_URL": "clickhouse://127.0.0.1:1/x",
    }
    with up(folder, settings, **nowhere) as command:
        command.serving().ask(0)
        command.until(lambda: "away" in json.dumps(command.readiness()), "telling that stores are away")
        assert_ended_well(command)
        assert [line for line in command.logged("core") if line["level"] == "error"] == []


@pytest.mark.slow
def test_a_schema_that_is_not_ours_is_told_and_left_alone(
    folder: Path, settings: dict[str, str], servers: tuple[FaultProxy, FaultProxy, dict[str, str]]
) -> None:
    *_, urls = servers
    owner = urls["WATCHLLM_OWNER_DATABASE_URL"]
    sql(owner, "INSERT INTO schema_migrations (number, name, sha256) VALUES (9999, '9999_future', 'x')")
    with up(folder, settings, **urls) as command:
        command.serving().ask(0)
        command.until(lambda: "9999_future" in json.dumps(command.readiness()), "naming the migration")
        sql(owner, "DELETE FROM schema_migrations WHERE number = 9999")
        command.ready()
        command.until(lambda: command.metric("watchllm_recorder_stored_calls_total") == 1, "storing it")
        assert_ended_well(command)


def sql(dsn: str, statement: str) -> None:
    import asyncio

    import asyncpg

    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


# --- the end ------------------------------------------------------------------------------------------


class Reading(threading.Thread):
    """A client in the middle of a streamed answer."""

    def __init__(self, command: Command) -> None:
        super().__init__(name="reading")
        self.body = b""
        self.exchange_id = ""
        self.error: Exception | None = None
        self._command = command
        self.start()

    def run(self) -> None:
        body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
        url = f"{self._command.origin}/v1/chat/completions"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
                self.exchange_id = str(answer.headers["X-WatchLLM-Request-Id"])
                while piece := answer.read1():
                    self.body += piece
        except Exception as exc:
            self.error = exc


def frame(text: str) -> bytes:
    delta = {
        "id": "c1",
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
    }
    return b"data: " + json.dumps(delta).encode() + b"\n\n"


EVENTS = (("Content-Type", "text/event-stream"),)


@pytest.mark.slow
def test_sigterm_lets_an_open_stream_finish_and_stores_it(
    folder: Path, settings: dict[str, str], fake: FakeOpenAI
) -> None:
    chunks = (*(frame(f"word{number} ") for number in range(10)), b"data: [DONE]\n\n")
    fake.answer_next(Canned(headers=EVENTS, chunks=chunks, pause_s=0.2))
    with up(folder, settings) as command:
        command.serving().ready()
        client = Reading(command)
        command.until(lambda: b"word1" in client.body, "the stream to begin")
        began = time.monotonic()
        status = command.stop()
        took_s = time.monotonic() - began
        client.join()
        assert (status, client.error) == (0, None)
        assert client.body == b"".join(chunks)
        assert command.left_running() == []
        assert took_s < 25.0, "it did not wait for the drain's deadline"
        print(f"an open stream of 2 s: stopped after {took_s:.1f} s")
    assert_stored(command.data_dir, [client.exchange_id])


class Watching(threading.Thread):
    """A page that hears of a run as it goes on. `body` is what it was told, whole once the thread has ended."""

    def __init__(self, command: Command, run_id: str) -> None:
        super().__init__(daemon=True)
        self._address = f"{command.origin}/api/agent-runs/{run_id}/events"
        self.body = b""
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            with urllib.request.urlopen(self._address, timeout=WAIT_S) as answer:
                while piece := answer.read1():
                    self.body += piece
        except OSError as exc:
            self.error = exc


@pytest.mark.slow
def test_a_stop_lets_go_of_open_pages_at_once_and_waits_for_the_stream_of_a_model(
    folder: Path, settings: dict[str, str], fake: FakeOpenAI
) -> None:
    """Of the whole product, and of the core alone, which another one follows."""
    with up(folder, settings) as command:
        command.serving().ready()
        asked = [command.ask(1)]
        command.until(lambda: len(command.runs()) == 1, "the run")
        (run,) = command.runs()
        core = command.child("core")
        page = Watching(command, run["run_id"])
        command.until(lambda: b"id: " in page.body, "the page to be told of the run")
        core.terminate()
        command.until(lambda: not page.is_alive(), "the page to be let go by the core")
        command.until(lambda: not is_alive(core), "the core to end")
        command.ready()
        fake.answer_next(Canned(headers=EVENTS, chunks=(frame("word"), frame("more")), hangs=True))
        client, page = Reading(command), Watching(command, run["run_id"])
        command.until(lambda: b"more" in client.body and b"id: " in page.body, "both streams to begin")
        command.note_processes()
        command.process.send_signal(signal.SIGTERM)
        command.until(lambda: not page.is_alive(), "the page to be let go by the proxy")
        assert client.is_alive(), "what a model says is waited for"
        assert page.error is None
        assert command.stop() == 0
        client.join()
        assert command.left_running() == []
    assert_stored(command.data_dir, [*asked, client.exchange_id])


@pytest.mark.slow
def test_a_second_sigterm_cuts_what_is_open_and_stores_it_all_the_same(
    folder: Path, settings: dict[str, str], fake: FakeOpenAI
) -> None:
    fake.answer_next(Canned(headers=EVENTS, chunks=(frame("word"), frame("more")), hangs=True))
    with up(folder, settings) as command:
        command.serving().ready()
        client = Reading(command)
        command.until(lambda: b"more" in client.body, "the stream to begin")
        command.note_processes()
        command.process.send_signal(signal.SIGTERM)
        command.until(lambda: not can_connect(command.origin), "closing the port")
        assert client.is_alive(), "the first signal cuts nothing"
        began = time.monotonic()
        assert command.stop() == 0
        took_s = time.monotonic() - began
        client.join()
        assert client.error is not None, "a cut answer must not look whole"
        assert took_s < 25.0, "it did not wait for the drain's deadline"
        assert command.left_running() == []
        print(f"a second SIGTERM: stopped after {took_s:.1f} s")
    assert_stored(command.data_dir, [client.exchange_id])


def can_connect(origin: str) -> bool:
    parts = urlsplit(origin)
    assert parts.hostname is not None
    try:
        socket.create_connection((parts.hostname, parts.port or 80), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.slow
def test_a_killed_supervisor_leaves_nobody_behind_and_nothing_lost(folder: Path, settings: dict[str, str]) -> None:
    with up(folder, settings) as first:
        asked = [first.serving().ready().ask(number) for number in range(5)]
        first.note_processes()
        postmaster = first.postmaster()
        children = [first.child("proxy"), first.child("core")]
        first.process.kill()
        first.process.wait()
        began = time.monotonic()
        with up(folder, settings) as second:
            second.serving().ready()
            print(f"the next one was well {time.monotonic() - began:.1f} s after the kill")
            asked += [second.ask(number) for number in range(5)]
            second.until(lambda: not any(map(is_alive, children)), "the orphans to end")
            assert second.postmaster() == postmaster, "the one that is running is taken over"
            second.until(lambda: len(second.runs()) == 10, "showing all")
            assert_ended_well(second)
        assert first.left_running() == []
    assert_stored(first.data_dir, asked)


# --- other ways to run it -------------------------------------------------------------------------------


@pytest.mark.slow
def test_print_env_leaves_nothing_on_stdout_but_the_line_to_evaluate(
    folder: Path, settings: dict[str, str]
) -> None:
    with Command(folder, "up", "--print-env", environ=settings) as command:
        command.serving().ready()
        assert command.out == f"export OPENAI_BASE_URL={command.origin}/v1\n"
        assert_ended_well(command)
        assert command.out == f"export OPENAI_BASE_URL={command.origin}/v1\n"


@pytest.mark.slow
def test_two_workers_make_one_run_of_one_agent_and_one_sum(folder: Path, settings: dict[str, str]) -> None:
    with up(folder, settings, WATCHLLM_WORKERS="2") as command:
        command.serving().ready()
        for number in range(30):
            command.ask(number, run="agent-7")
        command.until(lambda: command.metric("watchllm_recorder_stored_calls_total") == 30, "storing all")
        command.until(lambda: command.metric("watchllm_capture_accepted_total") == 30, "summing both workers")
        sizes = [
            sum(f.stat().st_size for f in (command.data_dir / "capture" / w).glob("*.log")) for w in ("w0", "w1")
        ]
        assert min(sizes) > 5_000, "both are to have captured some"
        (run,) = command.runs()
        assert run["total_steps"] == 60
        steps = json.loads(command.get(f"/api/agent-runs/{run['run_id']}/debug"))["debug"]["steps"]
        asked = [step["summary"] for step in steps if step["type"] == "user_input"]
        assert asked == [f"Question {number}?" for number in range(30)]
        assert_ended_well(command)


@pytest.mark.slow
def test_the_parts_one_by_one_on_servers_are_the_whole(
    folder: Path,
    settings: dict[str, str],
    servers: tuple[FaultProxy, FaultProxy, dict[str, str]],
) -> None:
    *_, urls = servers
    environ = {**settings, **urls, "WATCHLLM_ALLOW_ANONYMOUS": "on", "WATCHLLM_PORT": str(free_port())}
    migrations = [Command(folder, "migrate", environ=environ) for _ in range(2)]
    assert [migration.run() for migration in migrations] == [0, 0]
    assert "clickhouse/0001" in migrations[0].err
    assert "clickhouse" not in migrations[1].err
    assert not (folder / "data" / "clickhouse").exists()
    with (
        Command(folder, "proxy", environ=environ) as proxy,
        Command(folder, "recorder", environ=environ) as recorder,
        Command(folder, "console", environ=environ) as console,
    ):
        proxy.origin = f"http://127.0.0.1:{environ['WATCHLLM_PORT']}"
        proxy.ready()
        proxy.ask(0, run="one")
        proxy.ask(1, run="one")
        proxy.until(lambda: [run["total_steps"] for run in proxy.runs()] == [4], "showing the run")
        twin = Command(folder, "recorder", environ=environ)
        assert twin.run() == 1
        assert f"pid {recorder.process.pid}" in twin.err
        for each in (proxy, recorder, console):
            assert each.stop() == 0
            assert "Traceback" not in each.err


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.slow
@as_root
def test_an_ordinary_user_runs_it_as_well(folder: Path, settings: dict[str, str]) -> None:
    with Command(folder, "up", environ=settings, before=AS_ORDINARY_USER) as command:
        command.serving().ready()
        command.ask(0)
        command.until(lambda: len(command.runs()) == 1, "showing the run")
        postmaster = command.postmaster()
        assert postmaster is not None
        assert postmaster.uids() == command.child("core").uids(), "no other user is needed"
        assert_ended_well(command)
    assert not can_be_read_by_others(command.data_dir)


def can_be_read_by_others(folder: Path) -> bool:
    return any(path.stat().st_mode & 0o077 for path in (folder, *(folder / "capture").iterdir()))


def test_a_recorded_corpus_is_replayed_without_server_or_store(folder: Path) -> None:
    corpus = folder / "corpus.jsonl"
    lines = [
        {
            "t_request": 1.0 + number,
            "t_response": 1.5 + number,
            "method": "POST",
            "path": "/v1/chat/completions",
            "request_headers": {"X-Run-Id": "r1"},
            "request_body": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
            "status": 200,
            "response_headers": {"Content-Type": "application/json"},
            "response_body": {"choices": [{"message": {"role": "assistant", "content": "ho"}}]},
        }
        for number in range(3)
    ]
    corpus.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = Command(folder, "replay", str(corpus))
    assert command.run() == 0
    assigned = [json.loads(line) for line in command.out.splitlines()]
    assert len(assigned) == 3
    assert len({line["run_id"] for line in assigned}) == 1
    assert not command.data_dir.exists()
    corpus.write_text("no corpus\n")
    broken = Command(folder, "replay", str(corpus))
    assert broken.run() == 1
    assert "line 1" in broken.err


@pytest.mark.slow
def test_an_embedded_postgres_that_does_not_start_holds_up_no_request(
    folder: Path, settings: dict[str, str]
) -> None:
    broken = folder / "data" / "postgres" / "data"
    broken.mkdir(parents=True)
    (broken / "PG_VERSION").write_text("11\n")
    with up(folder, settings) as command:
        asked = [command.serving().ask(0)]
        command.until(
            lambda: "away" in command.readiness()["checks"].get("postgres", {}).get("detail", ""),
            "naming Postgres",
        )
        assert any(line["event"] == "postgres.not_started" for line in command.logged("up"))
        shutil.rmtree(broken)
        command.ready()
        command.until(lambda: len(command.runs()) == 1, "showing the run")
        assert_ended_well(command)
    assert_stored(command.data_dir, asked)


# --- what cannot be stored ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_record_that_cannot_be_stored_is_told_tried_again_and_given_up(
    folder: Path, settings: dict[str, str]
) -> None:
    left_behind = Committer.open(folder / "data" / "capture" / "w7", segment_bytes=1 << 20)
    garbage = uuid4()
    assert left_behind.commit([Record(garbage, [b"\xff\x00"], 2, None)]).outcomes == [None]
    left_behind.close()
    with up(folder, settings) as command:
        asked = [command.serving().ready().ask(0)]
        command.until(
            lambda: "set aside" in command.readiness()["checks"]["recorder"].get("detail", ""), "telling"
        )

        def dead(*words: str) -> tuple[int, str]:
            asking = Command(folder, "dead", *words, environ=settings)
            status = asking.run()
            return status, asking.out

        status, listed = dead("list", "--ndjson")
        assert (status, json.loads(listed)["record_id"]) == (0, str(garbage))
        doctor = Command(folder, "doctor", environ=settings)
        doctor.run()
        assert "2 accepted = 1 stored + 0 in the log + 1 dead-lettered (corrupt 1)" in doctor.out
        command.until(
            lambda: command.metric('watchllm_captures{reason="corrupt",state="dead_lettered"}') == 1, "counting it"
        )
        assert command.metric('watchllm_captures{reason="",state="missing"}') == 0
        status, retried = dead("retry", "--all", "--json")
        assert (status, json.loads(retried)["set_aside_again"]) == (1, [str(garbage)])
        assert dead("drop", str(garbage)[:8], "--yes")[0] == 0
        assert dead("list") == (0, "")
        assert_ended_well(command)
    stored = Stored.of(command.data_dir)
    assert stored.events == dict.fromkeys(asked, 1)
