"""Checks of what answers: the port and the server on it, the upstream, and the clock beside the upstream's."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from watchllm_proxy.commands.api_client import ApiClient, ServerUnreachable
from watchllm_proxy.commands.findings import Finding, ok, problem, warning
from watchllm_proxy.commands.terminal import clean
from watchllm_proxy.console.formats import count_of
from watchllm_proxy.demo.json_access import as_object, as_text
from watchllm_proxy.ports import holder_in_words
from watchllm_proxy.settings import Settings

TIMEOUT_S = 5.0
SLOW_CONNECT_MS = 500
MAX_SKEW_S = 5.0


# --- the port and the server ------------------------------------------------------------------------


def check_server(client: ApiClient, settings: Settings) -> Iterator[Finding]:
    """Is it ours that answers there, and does it say it is well?"""
    try:
        status, body = client.get_any("/healthz")
    except ServerUnreachable:
        yield from _nobody_answers(settings)
        return
    if status != http.client.OK or "status" not in as_object(_parsed(body)):
        holder = holder_in_words(settings.port) or " by another program"
        yield problem(
            "port",
            f"{client.url} is served{holder}, which is not WatchLLM",
            "Stop it, or choose another port with WATCHLLM_PORT.",
        )
        return
    yield ok("server", f"WatchLLM answers at {client.url}")
    yield from _readiness(client)


def _nobody_answers(settings: Settings) -> Iterator[Finding]:
    """A port that takes connections and speaks no HTTP is taken all the same."""
    holder = holder_in_words(settings.port)
    if holder:
        yield problem(
            "port",
            f"port {settings.port} is held{holder}, which does not answer as WatchLLM does",
            "Stop it, or choose another port with WATCHLLM_PORT.",
        )
        return
    yield ok("port", f"port {settings.port} is free")
    yield warning("server", "WatchLLM is not running here", "watchllm up")


def _readiness(client: ApiClient) -> Iterator[Finding]:
    """What `GET /readyz` tells: a status, and a check for each part with a sentence where it is not well."""
    status, body = client.get_any("/readyz")
    answer = as_object(_parsed(body))
    unwell = {
        name: as_object(check)
        for name, check in as_object(answer.get("checks")).items()
        if as_object(check).get("status") != "ok"
    }
    for name, check in unwell.items():
        yield warning(
            "server",
            f"{clean(name)}: {clean(as_text(check.get('detail'))) or 'degraded'}{_waiting(check)}",
            "Requests pass. docs/operations.md tells what to do.",
        )
    if unwell:
        return
    if status == http.client.OK:
        yield ok("server", "all its parts are well")
    else:
        yield warning(
            "server", f"it takes no new work now: {clean(as_text(answer.get('status')))}", "Wait, or start it."
        )


def _waiting(check: Mapping[str, object]) -> str:
    """Since when a part that is away is away, and when it is tried again."""
    since, tries, retry_in_s = (check.get(name) for name in ("since", "tries", "retry_in_s"))
    if not isinstance(since, str) or not isinstance(tries, int) or not isinstance(retry_in_s, int | float):
        return ""
    return f" (since {clean(since)}, tried {count_of(tries, 'time')}, again in {retry_in_s:.1f} s)"


def _parsed(body: bytes) -> object:
    try:
        document: object = json.loads(body)
    except ValueError:
        return None
    return document


# --- the upstream -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UpstreamSeen:
    """What reaching the upstream told. `date` is its own clock, to the second, at `asked_at`."""

    connect_ms: float
    date: datetime | None
    asked_at: datetime


def check_upstream(settings: Settings) -> Iterator[Finding]:
    """Connect as the proxy would, TLS verified, without a key; then hold our clock beside the upstream's."""
    host = urllib.parse.urlsplit(settings.upstream_url).hostname or ""
    try:
        seen = _reach(settings.upstream_url)
    except (OSError, http.client.HTTPException) as exc:
        yield problem("upstream", *_why_unreachable(host, exc))
        yield from check_clock(None)
        return
    told = f"{host} connects in {seen.connect_ms:.0f} ms"
    if seen.connect_ms > SLOW_CONNECT_MS:
        yield warning("upstream", told, "Slow: every first request on a new connection waits this long.")
    else:
        yield ok("upstream", told)
    yield from check_clock(seen)


def _reach(url: str) -> UpstreamSeen:
    parts = urllib.parse.urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=TIMEOUT_S, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    try:
        began = time.perf_counter()
        connection.connect()
        connect_ms = (time.perf_counter() - began) * 1000
        asked_at = datetime.now(UTC)
        connection.request("HEAD", f"{parts.path}/models")
        date = connection.getresponse().headers.get("Date")
        return UpstreamSeen(connect_ms, _instant(date), asked_at)
    finally:
        connection.close()


def _instant(date: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(date).astimezone(UTC) if date else None
    except ValueError:
        return None


def _why_unreachable(host: str, exc: Exception) -> tuple[str, str]:
    """(what happened, what to do), told by the class of the error."""
    if isinstance(exc, socket.gaierror):
        return f"{host} has no address here", "Check WATCHLLM_UPSTREAM_URL and this machine's DNS."
    if isinstance(exc, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {host} cannot be verified: {exc.verify_message}",
            "Install its authority in this machine's trust store (SSL_CERT_FILE); the proxy verifies it too.",
        )
    if isinstance(exc, TimeoutError):
        return (
            f"{host} does not answer in {TIMEOUT_S:.0f} s",
            "Check the network, the firewall and WATCHLLM_UPSTREAM_URL.",
        )
    reason = getattr(exc, "strerror", None) or type(exc).__name__
    return f"{host} cannot be reached: {reason}", "Check WATCHLLM_UPSTREAM_URL, the network and the firewall."


# --- the clock --------------------------------------------------------------------------------------


def check_clock(seen: UpstreamSeen | None) -> Iterator[Finding]:
    """Times of runs come from the wall clock, durations from the monotonic one."""
    if not time.get_clock_info("monotonic").monotonic:
        yield problem("clock", "this system's monotonic clock can go back", "Durations would be wrong: use Linux.")
    if seen is None or seen.date is None:
        yield ok("clock", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC (nothing to compare it with)")
        return
    skew_s = (seen.asked_at - seen.date).total_seconds()
    if abs(skew_s) > MAX_SKEW_S:
        direction = "ahead of" if skew_s > 0 else "behind"
        yield warning(
            "clock",
            f"this machine's clock is {abs(skew_s):.0f} s {direction} the upstream's",
            "Turn on time synchronisation (timedatectl set-ntp true).",
        )
    else:
        yield ok("clock", "within seconds of the upstream's")
