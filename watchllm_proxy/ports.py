"""The one port: hold it before anything starts, and say who has it when it is taken."""

from __future__ import annotations

import errno
import socket

import psutil

from watchllm_proxy.errors import AlreadyRunning, SettingsError


def reserve(host: str, port: int) -> socket.socket:
    """A bound socket that never listens: it holds the port for the workers, which share it (SO_REUSEPORT).

    Port 0 lets the system choose; ask the socket. Raises `AlreadyRunning` naming the holder where the
    system tells, and `SettingsError` for an address that is not this machine's.
    """
    family, kind, protocol, _, address = _resolve(host, port)
    probe = socket.socket(family, kind, protocol)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        chosen = probe.getsockname()
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise AlreadyRunning(
                f"port {port} on {host} is in use{holder_in_words(port)}. "
                "Stop it, or choose another with --port or WATCHLLM_PORT."
            ) from exc
        raise SettingsError(
            [f"WATCHLLM_HOST, WATCHLLM_PORT: cannot listen on {host}:{port}: {exc.strerror}"]
        ) from exc
    finally:
        probe.close()
    held = socket.socket(family, kind, protocol)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(chosen)
    return held


def holder_in_words(port: int) -> str:
    """` by python (pid 123)`, or nothing where the system does not say."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return ""
    for connection in connections:
        listens_here = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
        if listens_here and connection.pid:
            return f" by {process_in_words(connection.pid)}"
    return ""


def process_in_words(pid: int) -> str:
    """`nginx (pid 123)`; one of ours by what it does, `watchllm proxy (pid 123)`, not as one more python."""
    try:
        process = psutil.Process(pid)
        name, command = process.name(), process.cmdline()
    except psutil.Error:
        return f"a process (pid {pid})"
    words = [word for word in command[1:] if word != "-P"]  # how the supervisor starts its children
    if words[:2] == ["-m", "watchllm_proxy"]:
        name = f"watchllm {words[2]}" if words[2:] else "watchllm"
    return f"{name} (pid {pid})"


def _resolve(host: str, port: int) -> tuple[int, int, int, str, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as exc:
        raise SettingsError([f"WATCHLLM_HOST: {host!r} is no address of this machine: {exc}"]) from exc
    return found[0]  # type: ignore[return-value]
