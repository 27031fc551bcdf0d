"""The embedded engines: found again after a crash, one owner at a time, and nobody else's process touched."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from watchllm_proxy.errors import AlreadyRunning, StoreUnavailable
from watchllm_proxy.store.embedded import EmbeddedPostgres, passage

PROJECT = Path(__file__).resolve().parents[3]

HOLD_POSTGRES = """
import sys
from pathlib import Path
from watchllm_proxy.store.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
sys.stdin.read()
server.stop()
"""

HOLD_CLICKHOUSE = """
import sys
from pathlib import Path
from watchllm_proxy.store.embedded import EmbeddedClickHouse
engine = EmbeddedClickHouse(Path(sys.argv[1]))
store = engine.connect()
store.execute("CREATE TABLE IF NOT EXISTS t (a UInt32) ENGINE = MergeTree ORDER BY a "
              "SETTINGS non_replicated_deduplication_window = 1000")
(row,) = store.query("SELECT count() AS rows FROM t")
print(row["rows"], flush=True)
for line in sys.stdin:
    store.insert("t", ["a"], [(number,) for number in range(100)], line.strip())
    print("stored", flush=True)
store.close()
engine.close()
"""

TRY_CLICKHOUSE = """
import sys
from pathlib import Path
from watchllm_proxy.errors import AlreadyRunning
from watchllm_proxy.store.embedded import EmbeddedClickHouse
try:
    EmbeddedClickHouse(Path(sys.argv[1]))
except AlreadyRunning as exc:
    print(exc)
"""


class Holder:
    """Another process that has an engine open, until told otherwise."""

    def __init__(self, script: str, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )
        self.said = self._line()

    def ask(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._line()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self._end()

    def let_go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(30) == 0
        self._end()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def _end(self) -> None:
        self.process.wait(30)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's own: as root, a server of another user must be able to pass through its parents."""
    with tempfile.TemporaryDirectory(prefix="watchllm-test-") as made:
        yield Path(made)


def answer(dsn: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(dsn, timeout=5)
        try:
            return await connection.fetchval("SELECT 42")
        finally:
            await connection.close()

    return asyncio.run(ask())


def is_running(pid: int) -> bool:
    """Where process 1 does not reap, the dead stay as zombies."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_server_that_outlived_its_killed_parent_is_taken_over_and_stopped(folder: Path) -> None:
    parent = Holder(HOLD_POSTGRES, folder / "pg")
    orphan = psutil.Process(int(parent.said))
    parent.kill()
    assert orphan.is_running()
    server = EmbeddedPostgres(folder / "pg")
    server.start()
    assert server.pid == orphan.pid
    assert answer(server.dsn) == 42
    server.stop()
    assert not is_running(orphan.pid)
    assert server.pid is None


def test_a_second_start_is_refused_and_names_the_first(folder: Path) -> None:
    first = Holder(HOLD_POSTGRES, folder / "pg")
    try:
        with pytest.raises(AlreadyRunning, match=str(first.process.pid)):
            EmbeddedPostgres(folder / "pg").start()
    finally:
        first.let_go()
    assert not is_running(int(first.said))


def test_a_server_below_a_directory_that_was_closed_to_it_is_stopped(folder: Path) -> None:
    """As root anybody may take away the right to pass through: pg_ctl then cannot run as the server's user."""
    parent = folder / "parent"
    parent.mkdir(mode=0o711)
    server = EmbeddedPostgres(parent / "pg")
    server.start()
    pid = server.pid
    assert pid is not None
    parent.chmod(0o700)
    server.stop()
    assert not is_running(pid)
    assert "database system is shut down" in (parent / "pg/data/server.log").read_text()


def test_a_server_that_cannot_start_yet_has_its_address_already(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "pg")
    server.start()
    server.stop()
    version = folder / "pg/data/PG_VERSION"
    right = version.read_text()
    version.write_text("11\n")
    later = EmbeddedPostgres(folder / "pg")
    with pytest.raises(StoreUnavailable):
        later.start()
    dsn = later.dsn
    version.write_text(right)
    later.start()
    try:
        assert later.dsn == dsn
        assert answer(dsn) == 42
    finally:
        later.stop()


def test_a_server_that_died_is_started_again_at_the_same_address(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "pg")
    server.start()
    try:
        dsn, pid = server.dsn, server.pid
        assert pid is not None
        dead = psutil.Process(pid)
        dead.kill()
        dead.wait(10)
        assert server.pid is None
        server.start()
        assert server.dsn == dsn
        assert server.pid not in (None, pid)
        assert answer(dsn) == 42
    finally:
        server.stop()


def test_a_foreign_process_with_the_remembered_pid_is_left_alone(folder: Path) -> None:
    """Pids are used again: after a reboot the one in postmaster.pid may be anybody's."""
    server = EmbeddedPostgres(folder / "pg")
    server.start()
    server.stop()
    bystander = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        lines = [
            str(bystander.pid),
            str(folder / "pg/data"),
            "1",
            "5432",
            str(folder / "pg/socket"),
            "",
            "",
            "ready",
        ]
        (folder / "pg/data/postmaster.pid").write_text("\n".join(lines) + "\n")
        again = EmbeddedPostgres(folder / "pg")
        assert again.pid is None
        again.stop()
        assert bystander.poll() is None
        again.start()
        assert answer(again.dsn) == 42
        again.stop()
        assert bystander.poll() is None
    finally:
        bystander.communicate()


def test_a_deep_directory_gets_a_socket_that_the_kernel_accepts(folder: Path) -> None:
    deep = folder / ("d" * 60) / ("e" * 60) / "a name, with 'separators' \\ and ünicode"
    deep.mkdir(parents=True)
    server = EmbeddedPostgres(deep / "pg")
    server.start()
    try:
        assert answer(server.dsn) == 42
        row = (deep / "pg/data/postmaster.pid").read_text().splitlines()
        socket_folder = Path(row[4])
        assert socket_folder.stat().st_mode & 0o077 == 0, "the socket's directory is its owner's alone"
    finally:
        server.stop()
    assert not socket_folder.exists()


def test_the_data_directory_is_closed_to_others(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "pg")
    server.start()
    try:
        for closed in ("data", "socket"):
            assert (folder / "pg" / closed).stat().st_mode & 0o077 == 0
    finally:
        server.stop()


def test_a_start_that_was_cut_short_in_initdb_begins_anew(folder: Path) -> None:
    half_made = folder / "pg" / "initdb-cut" / "data"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(folder / "pg")
    server.start()
    assert answer(server.dsn) == 42
    server.stop()


def test_a_start_that_fails_says_why_and_frees_the_directory(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "pg")
    server.start()
    server.stop()
    (folder / "pg/data/PG_VERSION").write_text("11\n")
    for _ in range(2):  # the second time shows that the lock was let go
        with pytest.raises(StoreUnavailable, match="initialized by PostgreSQL version 11"):
            EmbeddedPostgres(folder / "pg").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to hand the server to another user")
def test_root_opens_its_directories_for_the_servers_user_and_nobody_else(folder: Path) -> None:
    closed = folder / "root only"
    closed.mkdir(mode=0o700)
    (closed / "note").write_text("readable by whoever gets here")
    server = EmbeddedPostgres(closed / "pg")
    for _ in range(2):  # the second time finds its entry
        server.start()
        server.stop()
    (closed / "note").chmod(0o644)
    assert closed.stat().st_mode & 0o007 == 0
    nobody = subprocess.run(["cat", str(closed / "note")], user=65534, group=65534, extra_groups=[], check=False)
    assert nobody.returncode != 0
    groups = subprocess.run(["cat", str(closed / "note")], user=65534, group=0, extra_groups=[], check=False)
    assert groups.returncode != 0, "the entry's mask grants the group nothing"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to hand the server to another user")
def test_an_access_list_that_is_there_is_kept(folder: Path) -> None:
    user = pwd.getpwnam("nobody")
    folder.chmod(0o700)
    other = passage._ENTRY.pack(passage._USER, 5, 12345)
    entries = [
        (1, 7, passage._NO_ID),
        (4, 0, passage._NO_ID),
        (0x10, 5, passage._NO_ID),
        (0x20, 0, passage._NO_ID),
    ]
    packed = [passage._ENTRY.pack(*entry) for entry in entries]
    os.setxattr(folder, passage._NAME, b"\2\0\0\0" + b"".join([packed[0], other, *packed[1:]]))
    passage.let_through(folder, user)
    found = passage._entries(folder, 0)
    assert (passage._USER, 5, 12345) in found
    assert (passage._USER, 1, user.pw_uid) in found
    assert (passage._MASK, 5, passage._NO_ID) in found
    passage.let_through(folder, user)
    assert passage._entries(folder, 0) == found


def test_clickhouse_in_use_by_another_process_is_refused_and_named(folder: Path) -> None:
    first = Holder(HOLD_CLICKHOUSE, folder / "ch")
    try:
        second = subprocess.run(
            [sys.executable, "-c", TRY_CLICKHOUSE, str(folder / "ch")],
            capture_output=True, text=True, cwd=PROJECT, timeout=60, check=True,
        )  # fmt: skip
        assert str(first.process.pid) in second.stdout
        assert str(folder / "ch") in second.stdout
    finally:
        first.let_go()


def test_clickhouse_keeps_acknowledged_rows_and_tokens_over_kill_nine(folder: Path) -> None:
    first = Holder(HOLD_CLICKHOUSE, folder / "ch")
    assert first.ask("batch-1") == "stored"
    first.kill()
    second = Holder(HOLD_CLICKHOUSE, folder / "ch")
    assert second.said == "100"
    assert second.ask("batch-1") == "stored"
    second.let_go()
    third = Holder(HOLD_CLICKHOUSE, folder / "ch")
    assert third.said == "100", "the token of before the kill is still known"
    third.let_go()


def test_the_socket_path_is_free_again_after_stop(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "pg")
    for _ in range(2):
        server.start()
        server.stop()
    shutil.rmtree(folder / "pg")
    assert not (folder / "pg").exists()


def test_clickhouse_takes_no_settings_from_the_directory_it_is_started_in(folder: Path) -> None:
    """Its engine reads `config.xml` where it stands; this one would keep it from starting."""
    hostile = folder / "elsewhere"
    hostile.mkdir()
    (hostile / "config.xml").write_text("<clickhouse><broken")
    program = f"import os, sys; os.chdir({str(hostile)!r}); sys.path.append({str(PROJECT)!r})\n{HOLD_CLICKHOUSE}"
    holder = Holder(program, folder / "clickhouse")
    assert holder.said == "0"
    assert holder.ask("one") == "stored"
    holder.let_go()
