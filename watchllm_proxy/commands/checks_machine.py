"""Checks of this machine: settings, the data directory and who holds it, disk, open files. They change nothing."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from watchllm_proxy.commands.findings import Finding, ok, problem, warning
from watchllm_proxy.console.formats import count_of
from watchllm_proxy.errors import SettingsError
from watchllm_proxy.ports import process_in_words
from watchllm_proxy.settings import Settings

MIB = 1024 * 1024
LOW_DISK_BYTES = 1024 * MIB
NO_DISK_BYTES = 64 * MIB
FILES_A_REQUEST = 2
"""A client's connection and the upstream's."""
SPARE_FILES = 200


def wrong_settings(error: SettingsError) -> Iterator[Finding]:
    for sentence in error.problems:
        yield problem("settings", sentence, "Correct or unset it; docs/settings.md lists every setting.")


def check_settings(settings: Settings) -> Iterator[Finding]:
    """Settings that are right one by one and still do not go well together."""
    yield ok("settings", "all settings can be read")
    upstream = urllib.parse.urlsplit(settings.upstream_url)
    if upstream.scheme == "http" and upstream.hostname not in {"127.0.0.1", "localhost", "::1"}:
        yield warning(
            "settings",
            f"requests and keys go to {upstream.hostname} unencrypted",
            "Use https:// in WATCHLLM_UPSTREAM_URL.",
        )
    if settings.allow_anonymous and not settings.is_loopback:
        yield warning(
            "settings",
            f"anyone who reaches {settings.host} may call without a key and look at the runs",
            "Set WATCHLLM_ALLOW_ANONYMOUS=off and hand out project keys, or listen on 127.0.0.1.",
        )


# --- the data directory -----------------------------------------------------------------------------


def check_data(settings: Settings) -> Iterator[Finding]:
    directory = settings.data_dir
    if not directory.exists():
        yield from _can_be_made(directory)
        return
    if not directory.is_dir() or not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        yield problem(
            "data",
            f"{directory} cannot be written by this user",
            "Give it to this user, or choose another with WATCHLLM_DATA_DIR.",
        )
        return
    yield ok("data", f"{directory} can be written")
    yield from _is_private(directory)
    yield from _who_holds(directory)
    yield from _disk(directory, settings)


def _can_be_made(directory: Path) -> Iterator[Finding]:
    parent = next(parent for parent in directory.parents if parent.exists())
    if os.access(parent, os.W_OK | os.X_OK):
        yield ok("data", f"{directory} is not there yet; the first start makes it")
    else:
        yield problem(
            "data",
            f"{directory} is not there and cannot be made in {parent}",
            "Choose another with WATCHLLM_DATA_DIR, or make it for this user.",
        )


def _is_private(directory: Path) -> Iterator[Finding]:
    """To pass through is not to look: as root, Postgres' own user must reach its files below."""
    if stat.S_IMODE(directory.stat().st_mode) & 0o066:
        yield warning(
            "data",
            "other users of this machine can look into the data directory, which holds prompts and answers",
            f"chmod 700 '{directory}'",
        )


def _who_holds(directory: Path) -> Iterator[Finding]:
    holders = sorted({pid for path in _lock_files(directory) if (pid := _holder(path))})
    if holders:
        words = ", ".join(process_in_words(pid) for pid in holders)
        yield ok("data", f"in use by {words}")


def _lock_files(directory: Path) -> list[Path]:
    """Locks of the capture logs, of the embedded stores, and of `up` itself."""
    return [path for pattern in ("*.lock", "*/owner.lock", "capture/*/lock") for path in directory.glob(pattern)]


def _holder(lock_file: Path) -> int | None:
    """Pid of the process that holds the flock on a file, without touching the lock."""
    inode = f":{lock_file.stat().st_ino}"
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        words = line.split()
        if "FLOCK" in words and "->" not in words and words[5].endswith(inode):
            return int(words[4])
    return None


def _disk(directory: Path, settings: Settings) -> Iterator[Finding]:
    free_bytes = shutil.disk_usage(directory).free
    told = f"{_size(free_bytes)} free on the disk of {directory}"
    wanted_bytes = settings.log_max_bytes * settings.workers
    make_room = "Make room, or move WATCHLLM_DATA_DIR. Requests pass either way."
    if free_bytes < NO_DISK_BYTES:
        yield problem("disk", f"{told}: captures are shed", make_room)
    elif free_bytes < LOW_DISK_BYTES:
        yield warning("disk", told, make_room)
    elif free_bytes < wanted_bytes:
        yield warning(
            "disk",
            f"{told}, less than the capture logs may grow to ({_size(wanted_bytes)}) while a store is away",
            "Make room, or lower WATCHLLM_LOG_MAX_BYTES.",
        )
    else:
        yield ok("disk", told)


def _size(size_bytes: int) -> str:
    if size_bytes >= 1024 * MIB:
        return f"{size_bytes / (1024 * MIB):.1f} GiB"
    return f"{size_bytes // MIB} MiB"


# --- limits -----------------------------------------------------------------------------------------


def check_limits(settings: Settings) -> Iterator[Finding]:
    """Whether the open-file limit carries WATCHLLM_MAX_REQUESTS requests at once."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.max_requests * FILES_A_REQUEST + SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < needed:
        yield warning(
            "limits",
            f"{count_of(hard, 'open file')} allowed; {settings.max_requests:,} requests at once need {needed:,}",
            f"Raise it (ulimit -Hn {needed}, LimitNOFILE= in systemd), or lower WATCHLLM_MAX_REQUESTS.",
        )
    else:
        yield ok("limits", "the open-file limit carries WATCHLLM_MAX_REQUESTS")
