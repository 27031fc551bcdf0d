"""Project keys on their way from Postgres to the proxies: a file of lines, so that no proxy waits for a database.

The process that can reach Postgres writes it; every proxy worker of the machine reads it when it changed.
It outlives a restart of everything, so a database that is away does not lock out known keys. It holds
SHA-256 hashes of keys, never keys, and provider keys sealed, never open.

The first line tells the format; then one line a project and one line a key. Lines, for a hundred thousand keys
read at once would stop a worker's loop for a third of a second.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import orjson
import structlog

from watchllm_proxy.grants import Grants, KeyGrant, ProjectTerms, from_plain, plain
from watchllm_proxy.proxy.auth import KeyRing

log = structlog.get_logger(__name__)

FORMAT = 2


def write(path: Path, grants: Grants) -> None:
    """Replace the file at once (write, sync, rename): a reader sees the old or the new one, never half."""
    content = b"".join(_lines(grants))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.read_bytes() == content:
        return
    fresh = path.with_suffix(f".{os.getpid()}.new")  # recorder and console may both write, apart
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _lines(grants: Grants) -> Iterator[bytes]:
    yield orjson.dumps({"format": FORMAT}, option=orjson.OPT_APPEND_NEWLINE)
    for _, terms in sorted(grants.projects.items()):
        yield orjson.dumps({"project": plain(terms)}, option=orjson.OPT_APPEND_NEWLINE)
    for digest, grant in sorted(grants.keys.items()):
        yield orjson.dumps({"sha256": digest.hex(), "key": plain(grant)}, option=orjson.OPT_APPEND_NEWLINE)


def read(path: Path) -> Grants:
    """What is in the file; nothing when there is no file yet. Raises OSError or ValueError where it is no good."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return Grants()
    if not lines or orjson.loads(lines[0]) != {"format": FORMAT}:
        raise ValueError("no key file of this version")
    keys: dict[bytes, KeyGrant] = {}
    projects: dict[str, ProjectTerms] = {}
    try:
        for line in lines[1:]:
            entry = orjson.loads(line)
            if "key" in entry:
                keys[bytes.fromhex(entry["sha256"])] = from_plain(KeyGrant, entry["key"])
            else:
                terms = from_plain(ProjectTerms, entry["project"])
                projects[terms.project_id] = terms
    except (TypeError, KeyError) as exc:
        raise ValueError("no key file") from exc
    return Grants(keys, projects)


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
