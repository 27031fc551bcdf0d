"""Project keys on their way from Postgres to the proxies: a small file, so that no proxy waits for a database.

The process that can reach Postgres writes it; every proxy worker of the machine reads it when it changed.
It outlives a restart of everything, so a database that is away does not lock out known keys. It holds
SHA-256 hashes of keys, never keys.
"""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import structlog

from watchllm_proxy.proxy.auth import KeyRing, ProjectKey

log = structlog.get_logger(__name__)


def write(path: Path, keys: dict[bytes, ProjectKey]) -> None:
    """Replace the file at once (write, sync, rename): a reader sees the old or the new one, never half."""
    content = orjson.dumps(
        {digest.hex(): key.project_id for digest, key in keys.items()}, option=orjson.OPT_SORT_KEYS
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.read_bytes() == content:
        return
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def read(path: Path) -> dict[bytes, ProjectKey]:
    """The keys in the file; none when there is no file yet. Raises OSError or ValueError where it is no good."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    entries: object = orjson.loads(content)
    if not isinstance(entries, dict) or not all(isinstance(value, str) for value in entries.values()):
        raise ValueError("no key file")
    return {bytes.fromhex(digest): ProjectKey(project_id, None) for digest, project_id in entries.items()}


def take_over(path: Path, keys: KeyRing) -> None:
    """Put the file's keys in force. One that cannot be read is told, and the keys stay as they are.

    It is no reason not to serve: unknown keys are refused meanwhile, and a core that sees Postgres writes it anew.
    """
    try:
        keys.replace(read(path))
    except (OSError, ValueError) as exc:
        log.error("keyfile.unreadable", error=type(exc).__name__)


def changed_at(path: Path) -> int | None:
    """A stamp that differs when the file does; None when there is no file."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None
