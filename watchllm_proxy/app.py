"""CONDUCTOR: the composition root. Opens the parts of each process in flow order, closes them in reverse.

worker.run_proxy   one worker on the port: capture log -> keys -> server
core.run_core      what is behind the log: stores -> recorder -> console (either can be left out)
run_up             one machine: the two above as supervised children, and Postgres where no server is named
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol

import aiohttp
import structlog

from watchllm_proxy import ports
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.lifecycle import held, make_data_dir, on_signals, rest
from watchllm_proxy.settings import Settings, child_environment
from watchllm_proxy.store.embedded import EmbeddedPostgres
from watchllm_proxy.supervisor import Child, Supervisor

log = structlog.get_logger(__name__)

POSTGRES_POLL_S = 2.0
START_POLL_S = 0.1
START_PATIENCE_S = 10.0
"""What is behind the proxies takes some seconds to start: only after these it is told what is missing."""

CORE_STOP_TIMEOUT_S = 60.0
LOCK_FILE = "up.lock"
"""In the data directory. Held, it names pid and address of who holds it: `background` finds it by that."""

AFTER_DRAIN_S = 10.0
"""What a proxy may take beyond its drain time to sync its log, before it is killed."""

LESS_TO_IMPORT = {"CLICKHOUSE_DRIVER_LASY_DATE_LUT": "1", "PYDANTIC_DISABLE_PLUGINS": "__all__"}
"""For ClickHouse's driver, which spells it so: else its import lists each day from 1900 to 2299 twice, a tenth of
a second and 20 MB of every start. For pydantic, which the table of prices brings: else it reads about every
package that is installed, to look for plugins of its own."""


class Told(Protocol):
    """Who is told how `run_up` gets on. Each gets the settings in force: the port as chosen."""

    def serving(self, settings: Settings) -> None:
        """Requests pass."""

    def missing(self, problems: Mapping[str, str]) -> None:
        """It takes long: what is not well, by the name of the part. Again when that changes."""

    def ready(self, settings: Settings) -> None:
        """All is well."""

    def stopping(self, settings: Settings) -> None:
        """Told to stop: open answers finish, then what they left in the log is stored."""


async def run_up(settings: Settings, told: Told, *, until: asyncio.Event | None = None) -> None:
    """Run until SIGTERM or SIGINT (or `until`): the proxies at once, and what is behind them as it gets ready.

    The proxies need nothing of what is behind them: requests pass while stores start, or do not. Raises
    `AlreadyRunning` for a data directory or a port that is taken.
    """
    stop, cut = until or asyncio.Event(), asyncio.Event()
    on_signals(stop, cut)
    with (
        _sole_user(settings) as note_port,
        contextlib.closing(ports.reserve(settings.host, settings.port)) as reserved,
    ):
        settings = replace(settings, port=reserved.getsockname()[1])
        note_port(settings.port)
        drained = asyncio.Event()
        async with asyncio.TaskGroup() as task_group:
            task_group.create_task(_run_proxies(settings, stop, cut, drained))
            task_group.create_task(_run_behind(settings, drained))
            task_group.create_task(_tell(settings, told, stop))
            await stop.wait()
            told.stopping(settings)


async def _run_proxies(
    settings: Settings, stop: asyncio.Event, cut: asyncio.Event, drained: asyncio.Event
) -> None:
    stop_within_s = settings.drain_timeout_s + AFTER_DRAIN_S
    names = [f"w{index}" for index in range(settings.workers)]
    workers = [Child(name, ("proxy", name), stop_within_s) for name in names]
    await Supervisor(workers, child_environment(settings)).run(stop, cut)
    drained.set()


async def _run_behind(settings: Settings, drained: asyncio.Event) -> None:
    """Postgres if it is ours, and recorder and console: until the proxies' last records are stored."""
    core = Child("core", ("core",), CORE_STOP_TIMEOUT_S)
    async with _own_postgres(settings) as complete:
        await Supervisor([core], {**child_environment(complete), **LESS_TO_IMPORT}).run(drained)


@contextlib.contextmanager
def _sole_user(settings: Settings) -> Iterator[Callable[[int], None]]:
    """Hold the data directory; gives a function that notes our port for whoever comes second."""
    make_data_dir(settings.data_dir)
    hint = "Stop it, or give this one a directory of its own with WATCHLLM_DATA_DIR."
    with held(settings.data_dir / LOCK_FILE, str(settings.data_dir), hint) as note:
        yield lambda port: note(f"watchllm up (pid {os.getpid()}, {replace(settings, port=port).base_url})")


@contextlib.asynccontextmanager
async def _own_postgres(settings: Settings) -> AsyncIterator[Settings]:
    """Settings that name a Postgres: the one given, or ours on the data directory, watched and kept up."""
    if settings.database_url is not None:
        yield settings
        return
    server = EmbeddedPostgres(settings.data_dir / "postgres")
    await _start(server)
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
            await _start(server)


async def _start(server: EmbeddedPostgres) -> None:
    """Where that fails it is tried again later: requests pass without it, and what is behind them says so."""
    try:
        await asyncio.to_thread(server.start)
    except (StoreUnavailable, OSError) as exc:
        log.error("postgres.not_started", error=str(exc))


async def _tell(settings: Settings, told: Told, stop: asyncio.Event) -> None:
    """Tell how the start goes: requests pass, then what is still missing where it takes long, then all is well."""
    timeout = aiohttp.ClientTimeout(total=2)
    async with aiohttp.ClientSession(settings.base_url, timeout=timeout) as session:
        while await _asked(session, "/healthz") is None:
            if stop.is_set():
                return
            await rest(stop, START_POLL_S)
        told.serving(settings)
        patient_until, shown = time.monotonic() + START_PATIENCE_S, None
        while not stop.is_set():
            missing = _missing(await _asked(session, "/readyz"))
            if missing == {}:
                told.ready(settings)
                return
            if missing != shown and missing is not None and time.monotonic() > patient_until:
                told.missing(missing)
                shown = missing
            await rest(stop, START_POLL_S)


async def _asked(session: aiohttp.ClientSession, path: str) -> object:
    """What it answers; None where it does not."""
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError):
        async with session.get(path) as answer:
            return await answer.json()
    return None


def _missing(ready: object) -> dict[str, str] | None:
    """What is not well, each with a sentence; empty when all is; None when that is not known."""
    checks = ready.get("checks") if isinstance(ready, dict) else None
    if not isinstance(checks, dict):
        return None
    return {name: str(check.get("detail")) for name, check in checks.items() if check.get("status") != "ok"}
