"""CONDUCTOR of one proxy worker: capture log -> keys -> server.

It knows no store and no page: what those need is not imported, so a worker that was killed is back sooner, and
each keeps less in memory.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from watchllm_proxy import keyfile
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.ingesting import Ingestion
from watchllm_proxy.lifecycle import make_run_dir, on_signals, rest, settle_memory
from watchllm_proxy.proxy.auth import KeyRing
from watchllm_proxy.proxy.server import ProxyServer
from watchllm_proxy.settings import Settings
from watchllm_proxy.supervisor import watch_parent

log = structlog.get_logger(__name__)

KEY_POLL_S = 1.0


async def run_proxy(settings: Settings, *, worker: str, is_child: bool) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal cuts open answers at once."""
    stop, cut = asyncio.Event(), asyncio.Event()
    on_signals(stop, cut)
    make_run_dir(settings.run_dir)
    keys = KeyRing()
    capture = LogWriter(settings.capture_dir / worker, max_bytes=settings.log_max_bytes)
    capture.open()
    server = ProxyServer(
        settings,
        log=capture,
        keys=keys,
        console_socket=settings.console_socket,
        worker=worker,
        intake=Ingestion(capture),
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
    path = settings.key_file
    keyfile.take_over(path, keys)
    await server.start(settings.host, settings.port, reuse_port=True)
    settle_memory()
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
    """Take over the key file when it changed."""
    seen = keyfile.changed_at(path)
    while not stop.is_set():
        changed = keyfile.changed_at(path)
        if changed != seen:
            await asyncio.to_thread(keyfile.take_over, path, keys)
            seen = changed
        await rest(stop, KEY_POLL_S)
