"""The caller's path as one object: listens, serves, watches the deadlines, drains.

client ── client.ClientConnection ── handler.Handler ── relay.Relay ── upstream.UpstreamConnection ── upstream
                                                           └── tee.Tee ── capture log
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
import time
from pathlib import Path

import structlog
from aiohttp import http_parser

from watchllm_proxy.outcomes import CaptureCounts
from watchllm_proxy.proxy import metrics, operations
from watchllm_proxy.proxy.answers import Answer
from watchllm_proxy.proxy.auth import KeyRing
from watchllm_proxy.proxy.client import ClientServer
from watchllm_proxy.proxy.handler import Handler
from watchllm_proxy.proxy.limits import report
from watchllm_proxy.proxy.limits.admission import Admission
from watchllm_proxy.proxy.limits.counts import Usage
from watchllm_proxy.proxy.limits.rates import RateTable
from watchllm_proxy.proxy.limits.shares import Shares
from watchllm_proxy.proxy.metrics import Counters, Gauges
from watchllm_proxy.proxy.pool import Origin, Pool
from watchllm_proxy.proxy.reported import Intake
from watchllm_proxy.proxy.targets import Route
from watchllm_proxy.proxy.tee import CaptureLog
from watchllm_proxy.settings import Settings

log = structlog.get_logger(__name__)

BACKLOG = 1024
SPARE_FILES = 64
"""Descriptors left for the capture log, the listener and the rest of the process."""
UNSENT_BYTES = 32 * 1024

SWEEPS_PER_LIMIT = 4
MAX_SWEEP_S = 1.0
DRAIN_POLL_S = 0.05
SNAPSHOT_INTERVAL_S = 1.0


class ProxyServer:
    """One worker of the proxy. The capture log is the caller's: open before `start`, closed after `stop`.

    Raises `RuntimeError` when aiohttp came without its C parser: the other one is slow, and has had request
    smuggling bugs of its own.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        log: CaptureLog,
        keys: KeyRing,
        console_socket: Path | None = None,
        worker: str = "w0",
        tls: ssl.SSLContext | None = None,
        intake: Intake | None = None,
    ) -> None:
        if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
            raise RuntimeError("aiohttp runs without its C extensions; install a wheel of it that has them")
        self._settings = settings
        self._log = log
        self._worker = worker
        self._counters = Counters()
        self._upstream = Pool(
            Origin.from_url(settings.upstream_url), connect_timeout_s=settings.connect_timeout_s, tls=tls
        )
        self._console = (
            Pool(Origin("localhost", socket_path=console_socket), connect_timeout_s=settings.connect_timeout_s)
            if console_socket is not None
            else None
        )
        room = _room_for_connections()
        max_requests = min(settings.max_requests, room)
        self._usage = Usage(settings.usage_dir, worker)
        self._rates = RateTable(settings.usage_dir / "rates")
        self._admission = Admission(
            self._usage,
            self._rates,
            Shares(max_requests),
            refusals=self._counters.refusals,
            is_alone=lambda: keys.has_one_project,
        )
        self._handler = Handler(
            settings,
            log=log,
            keys=keys,
            upstream=self._upstream,
            console=self._console,
            counters=self._counters,
            max_requests=max_requests,
            admission=self._admission,
            operate=self._operate,
            intake=intake,
        )
        self._max_connections = room
        self._shed_watch = operations.ShedWatch({})
        self._listener: asyncio.Server | None = None
        self._clients: ClientServer | None = None
        self._background: list[asyncio.Task[None]] = []
        self._cut_now = asyncio.Event()

    @property
    def port(self) -> int:
        """The port in use, once started; 0 on a unix socket."""
        if self._listener is None:
            raise RuntimeError("not started")
        address = self._listener.sockets[0].getsockname()
        return int(address[1]) if isinstance(address, tuple) else 0

    async def start(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        sock: socket.socket | None = None,
        reuse_port: bool = False,
    ) -> None:
        """Listen on `host` and `port` (default: the settings'), or on the bound `sock`. Raises OSError."""
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._open_counts)
        self._clients = ClientServer(
            self._handler,
            head_timeout_s=self._settings.header_timeout_s,
            max_connections=self._max_connections,
        )
        if sock is not None:
            self._listener = await loop.create_server(self._clients, sock=sock, backlog=BACKLOG)
        else:
            self._listener = await loop.create_server(
                self._clients,
                self._settings.host if host is None else host,
                self._settings.port if port is None else port,
                backlog=BACKLOG,
                reuse_port=reuse_port,
            )
        _limit_unsent(self._listener)
        self._shed_watch = operations.ShedWatch((await self._captures()).shed)
        self._background.append(loop.create_task(self._watch_captures()))
        self._background.append(loop.create_task(self._sweep_for_ever()))
        self._background.append(loop.create_task(self._follow_usage()))
        if self._settings.workers > 1:
            self._background.append(loop.create_task(self._write_snapshots()))

    async def drain(self) -> None:
        """Stop accepting, let open answers finish up to the drain timeout, cut the rest, stop. What the console
        tells for as long as somebody listens ends at once.

        `stop` meanwhile (a second signal) cuts them at once.
        """
        self._stop_accepting()
        deadline_s = time.monotonic() + self._settings.drain_timeout_s
        while self._handler.is_busy and time.monotonic() < deadline_s and not self._cut_now.is_set():
            for relay in list(self._handler.relays):
                relay.end_endless()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_POLL_S):
                    await self._cut_now.wait()
        await self.stop()

    async def stop(self) -> None:
        """Cut what is open, at once. Every exchange is in the capture log's hands when this returns."""
        self._stop_accepting()
        self._cut_now.set()
        for relay in list(self._handler.relays):
            relay.cut("the proxy stopped")
        if self._clients is not None:
            await self._clients.shutdown(timeout=0.5)
        if self._handler.lookups is not None:
            await self._handler.lookups.stop()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._background.clear()
        self._upstream.close()
        if self._console is not None:
            self._console.close()
        if self._listener is not None:
            self._listener.close()

    def _stop_accepting(self) -> None:
        self._handler.is_draining = True
        if self._listener is not None:
            self._listener.close()
        if self._clients is not None:
            self._clients.end_soon()

    # --- the watchdog --------------------------------------------------------------------------------

    async def _sweep_for_ever(self) -> None:
        """One look at everything open, about once a second: cheaper than a timer for each chunk."""
        settings = self._settings
        shortest_s = min(
            settings.first_byte_timeout_s,
            settings.idle_timeout_s,
            settings.header_timeout_s,
            settings.body_progress_timeout_s,
        )
        interval_s = min(MAX_SWEEP_S, shortest_s / SWEEPS_PER_LIMIT)
        while True:
            await asyncio.sleep(interval_s)
            self._sweep(time.monotonic())

    def _sweep(self, now_s: float) -> None:
        for relay in list(self._handler.relays):
            relay.sweep(now_s)
        if self._clients is not None:
            self._clients.sweep(now_s)
        self._upstream.sweep(now_s)
        if self._console is not None:
            self._console.sweep(now_s)

    def _open_counts(self) -> None:
        self._usage.open(time.time())
        self._rates.open()

    async def _follow_usage(self) -> None:
        """Who counts beside us, and what is counted elsewhere. An unreadable report leaves the last one."""
        directory, seen = self._settings.usage_dir, None
        while True:
            try:
                changed = await asyncio.to_thread(report.changed_at, directory)
                if changed != seen:
                    seen = changed
                    self._admission.take_over(await asyncio.to_thread(report.read_report, directory))
            except (OSError, ValueError) as exc:
                log.error("proxy.usage_report_unreadable", error=type(exc).__name__)
            await asyncio.to_thread(self._usage.look_around, time.time())
            await asyncio.sleep(SNAPSHOT_INTERVAL_S)

    async def _watch_captures(self) -> None:
        while True:
            await asyncio.sleep(SNAPSHOT_INTERVAL_S)
            await self._note_captures()

    # --- operations ----------------------------------------------------------------------------------

    async def _operate(self, route: Route) -> Answer:
        if route is Route.HEALTH:
            return operations.HEALTHY
        if route is Route.METRICS:
            return await self._metrics()
        checks = {"proxy": self._own_check(), "capture_log": await self._capture_check()}
        if self._console is not None:
            checks |= await operations.console_checks(self._console)
        return operations.ready_answer(checks, is_draining=self._handler.is_draining)

    async def _metrics(self) -> Answer:
        others = await asyncio.to_thread(metrics.read_other_snapshots, self._settings.run_dir, self._worker)
        of_console = await operations.console_metrics(self._console) if self._console is not None else b""
        return operations.metrics_answer(self._snapshot(), others, await self._captures(), of_console)

    def _own_check(self) -> operations.Check:
        if self._handler.is_draining:
            return operations.degraded("stopping: open answers finish, new requests are refused")
        return operations.OK

    async def _capture_check(self) -> operations.Check:
        await self._note_captures()
        return self._shed_watch.check(time.monotonic())

    async def _note_captures(self) -> None:
        captures = await self._captures()
        self._shed_watch.note(captures.shed, time.monotonic())

    async def _captures(self) -> CaptureCounts:
        """Of all workers, whichever is asked."""
        return await asyncio.to_thread(self._log.counts_of_all)

    def _snapshot(self) -> metrics.Snapshot:
        gauges = Gauges(
            capture_log_bytes=self._log.bytes_on_disk,
            capture_memory_bytes=self._handler.budget.used_bytes,
            client_connections=self._clients.connection_count if self._clients is not None else 0,
            upstream_connections=self._upstream.open_connections,
        )
        return metrics.snapshot(self._counters, gauges)

    async def _write_snapshots(self) -> None:
        """For the worker that happens to be asked for /metrics."""
        path = metrics.snapshot_path(self._settings.run_dir, self._worker)
        while True:
            try:
                await asyncio.to_thread(metrics.write_snapshot, path, self._snapshot())
            except OSError as exc:
                log.warning("proxy.metrics_not_written", error=type(exc).__name__)
            await asyncio.sleep(SNAPSHOT_INTERVAL_S)


def _room_for_connections() -> int:
    """How many clients the descriptor limit leaves room for, each with a connection to the upstream.

    The soft limit is raised first: it is low for the sake of `select`, which nothing here uses.
    """
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        limit = hard
    if limit == resource.RLIM_INFINITY:
        limit = 1 << 20
    return max(1, (limit - min(SPARE_FILES, limit // 2)) // 2)


def _limit_unsent(listener: asyncio.Server) -> None:
    """Let the kernel take little more than it can send; accepted connections inherit this.

    Without it a client that reads slowly has megabytes of its answer wait in the kernel, and we have read, and
    keep for the capture, as much: 100 such clients took 280 MB. What a fast client gets is not slowed down.
    """
    for sock in listener.sockets:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
