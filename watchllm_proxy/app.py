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
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import structlog
from aiohttp import web

from watchllm_proxy import keyfile, ports
from watchllm_proxy.capture.merge import LogSet
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.console.app import build_app
from watchllm_proxy.errors import AlreadyRunning, SettingsError, StoreUnavailable
from watchllm_proxy.proxy.auth import KeyRing
from watchllm_proxy.proxy.server import ProxyServer
from watchllm_proxy.recorder import Recorder
from watchllm_proxy.sessionize import Sessionizer
from watchllm_proxy.settings import Settings, child_environment
from watchllm_proxy.store import keys as project_keys
from watchllm_proxy.store.embedded import EmbeddedPostgres
from watchllm_proxy.supervisor import Child, Supervisor, watch_parent

log = structlog.get_logger(__name__)

KEY_REFRESH_S = 2.0
KEY_POLL_S = 1.0
STORE_RETRY_S = 1.0
POSTGRES_POLL_S = 2.0
CORE_STOP_TIMEOUT_S = 60.0
AFTER_DRAIN_S = 10.0
"""What a proxy may take beyond its drain time to sync its log, before it is killed."""


# --- a proxy worker ---------------------------------------------------------------------------------


async def run_proxy(settings: Settings, *, worker: str, is_child: bool) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal cuts open answers at once."""
    stop, cut = asyncio.Event(), asyncio.Event()
    _on_signals(stop, cut)
    keys = KeyRing()
    capture = LogWriter(settings.capture_dir / worker, max_bytes=settings.log_max_bytes)
    await capture.open()
    server = ProxyServer(
        settings, log=capture, keys=keys, console_socket=settings.console_socket, worker=worker
    )
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
    path = key_file(settings)
    keys.replace(keyfile.read(path))
    await server.start(settings.host, settings.port, reuse_port=True)
    _settle_memory()
    log.info("proxy.ready", host=settings.host, port=server.port)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_poll_keys(path, keys, stop))
        if is_child:
            tasks.create_task(watch_parent(stop))
        elif settings.database_url:
            tasks.create_task(_refresh_keys(settings, stop))
        await stop.wait()
        draining = tasks.create_task(server.drain())
        cutting = tasks.create_task(_stop_when(cut, server))
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
            changed = path.stat().st_mtime_ns if path.exists() else None
            if changed != seen:
                keys.replace(keyfile.read(path))
                seen = changed
        except (OSError, ValueError) as exc:
            log.error("proxy.key_file_unreadable", error=type(exc).__name__)
        await _rest(stop, KEY_POLL_S)


def _settle_memory() -> None:
    """Everything imported stays for ever: keep the collector from walking it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def key_file(settings: Settings) -> Path:
    return settings.data_dir / "keys.json"
