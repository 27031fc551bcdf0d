"""CONDUCTOR: the composition root. Opens the parts of each process in flow order, closes them in reverse.

run_proxy   one worker on the port: capture log -> keys -> server
run_core    what is behind the log: stores -> recorder -> console (either can be left out)
run_up      one machine: Postgres if embedded, then the two above as supervised children
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import structlog

from watchllm_proxy import keyfile, ports
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.errors import AlreadyRunning, StoreUnavailable
from watchllm_proxy.lifecycle import make_data_dir, make_run_dir, on_signals, rest
from watchllm_proxy.proxy.auth import KeyRing
from watchllm_proxy.proxy.server import ProxyServer
from watchllm_proxy.settings import Settings, child_environment
from watchllm_proxy.store.embedded import EmbeddedPostgres
from watchllm_proxy.supervisor import Child, Supervisor, watch_parent

log = structlog.get_logger(__name__)

KEY_POLL_S = 1.0
POSTGRES_POLL_S = 2.0
CORE_STOP_TIMEOUT_S = 60.0
AFTER_DRAIN_S = 10.0
"""What a proxy may take beyond its drain time to sync its log, before it is killed."""


# --- a proxy worker ---------------------------------------------------------------------------------


async def run_proxy(settings: Settings, *, worker: str, is_child: bool) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal cuts open answers at once."""
    stop, cut = asyncio.Event(), asyncio.Event()
    on_signals(stop, cut)
    make_run_dir(settings.run_dir)
    keys = KeyRing()
    capture = LogWriter(settings.capture_dir / worker, max_bytes=settings.log_max_bytes)
    capture.open()
    server = ProxyServer(settings, log=capture, keys=keys, console_socket=settings.console_socket, worker=worker)
    try:
        await _run_server(settings, server, keys, stop, cut, is_child=is_child)
    finally:
        await capture.close()


async def _run_server(
    settings: Settings,
    server: ProxyServer,
    keys: KeyRing,
    stop: asyncio.Event,
    cut: asyncio.Event,
    *,
    is_child: bool,
) -> None:
    path = settings.key_file
    keys.replace(keyfile.read(path))
    await server.start(settings.host, settings.port, reuse_port=True)
    _settle_memory()
    log.info("proxy.ready", host=settings.host, port=server.port)
    async with asyncio.TaskGroup() as task_group:
        task_group.create_task(_poll_keys(path, keys, stop))
        if is_child:
            task_group.create_task(watch_parent(stop))
        await stop.wait()
        draining = task_group.create_task(server.drain())
        cutting = task_group.create_task(_stop_when(cut, server))
        await draining
        cutting.cancel()


async def _stop_when(cut: asyncio.Event, server: ProxyServer) -> None:
    await cut.wait()
    await server.stop()


async def _poll_keys(path: Path, keys: KeyRing, stop: asyncio.Event) -> None:
    """Take over the key file when it changed. An unreadable one is told and the old keys stay."""
    seen: int | None = None
    while not stop.is_set():
        try:
            changed = keyfile.changed_at(path)
            if changed != seen:
                keys.replace(keyfile.read(path))
                seen = changed
        except (OSError, ValueError) as exc:
            log.error("proxy.key_file_unreadable", error=type(exc).__name__)
        await rest(stop, KEY_POLL_S)


def _settle_memory() -> None:
    """Everything imported stays for ever: keep the collector from walking it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


# --- everything on one machine ----------------------------------------------------------------------


async def run_up(
    settings: Settings, announce: Callable[[Settings], None], *, until: asyncio.Event | None = None
) -> None:
    """Run until SIGTERM or SIGINT (or `until`): embedded stores where no server is named, then all processes.

    `announce` is called with the settings in force (the port as chosen) once requests are served.
    Raises `AlreadyRunning` for a data directory or a port that is taken.
    """
    stop, cut = until or asyncio.Event(), asyncio.Event()
    on_signals(stop, cut)
    with (
        _sole_user(settings) as note_port,
        contextlib.closing(ports.reserve(settings.host, settings.port)) as held,
    ):
        settings = replace(settings, port=held.getsockname()[1])
        note_port(settings.port)
        async with _own_postgres(settings) as settings:
            supervisor = Supervisor(_children(settings), child_environment(settings))
            async with asyncio.TaskGroup() as task_group:
                task_group.create_task(supervisor.run(stop))
                if await _until_served(settings, stop):
                    announce(settings)


def _children(settings: Settings) -> list[list[Child]]:
    proxies = [
        Child(f"w{index}", ("proxy", "--worker", f"w{index}", "--child"), settings.drain_timeout_s + AFTER_DRAIN_S)
        for index in range(settings.workers)
    ]
    return [proxies, [Child("core", ("core", "--child"), CORE_STOP_TIMEOUT_S)]]


@contextlib.contextmanager
def _sole_user(settings: Settings) -> Iterator[Callable[[int], None]]:
    """Hold the data directory; gives a function that notes our port for whoever comes second."""
    make_data_dir(settings.data_dir)
    descriptor = os.open(settings.data_dir / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = lock.read().strip() or "another process"
            raise AlreadyRunning(
                f"{settings.data_dir} is in use by {holder}. "
                "Stop it, or give this one a directory of its own with WATCHLLM_DATA_DIR."
            ) from exc

        def note_port(port: int) -> None:
            lock.seek(0)
            lock.truncate()
            lock.write(f"watchllm up (pid {os.getpid()}, http://{settings.host}:{port})\n")
            lock.flush()

        yield note_port


@contextlib.asynccontextmanager
async def _own_postgres(settings: Settings) -> AsyncIterator[Settings]:
    """Settings that name a Postgres: the one given, or ours on the data directory, watched and kept up."""
    if settings.database_url is not None:
        yield settings
        return
    server = EmbeddedPostgres(settings.data_dir / "postgres")
    await asyncio.to_thread(server.start)
    watching = asyncio.ensure_future(_keep_up(server))
    try:
        yield replace(settings, database_url=server.dsn, owner_database_url=server.owner_dsn)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        await asyncio.to_thread(server.stop)


async def _keep_up(server: EmbeddedPostgres) -> None:
    """Start our Postgres again should it end: the recorder waits for it meanwhile, and nothing is lost."""
    while True:
        await asyncio.sleep(POSTGRES_POLL_S)
        if server.pid is None:
            log.error("postgres.ended")
            with contextlib.suppress(StoreUnavailable):
                await asyncio.to_thread(server.start)


async def _until_served(settings: Settings, stop: asyncio.Event) -> bool:
    """True once the console answers through the proxy; False when told to stop before that."""
    url = f"{settings.base_url}/api/agent-runs?limit=1"
    timeout = aiohttp.ClientTimeout(total=2)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while not stop.is_set():
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return True
            await rest(stop, 0.1)
    return False
