"""What the check of a project key costs a request with a hundred thousand keys loaded, and what loading costs.

python -m bench keys

CPU time, each figure the median of several rounds. The check is `Authenticator.identify` as the handler calls it:
find the key among the credentials, hash it, look it up, compare scope and time, open the project's provider key.
I/O is counted, not assumed: an audit hook counts whatever Python opens, reads from or asks the system for.
"""

from __future__ import annotations

import contextlib
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from watchllm_proxy import keyfile
from watchllm_proxy.grants import Grants, KeyGrant, ProjectTerms, Scope
from watchllm_proxy.proxy.answers import Refusal
from watchllm_proxy.proxy.auth import Authenticator, KeyRing, digest
from watchllm_proxy.sealing import Vault

KEYS = 100_000
PROJECTS = 1_000
ROUNDS = 7
CHECKS = 20_000
SCOPES = frozenset({Scope.PROXY, Scope.INGEST})


class IoCount:
    """Audit events that are I/O, while it is on. A hook cannot be taken away again."""

    def __init__(self) -> None:
        self.is_on = False
        self.events = 0
        sys.addaudithook(self._seen)

    def _seen(self, event: str, args: tuple[object, ...]) -> None:
        if self.is_on and event.partition(".")[0] in {"open", "os", "socket", "subprocess", "sqlite3", "mmap"}:
            self.events += 1


def keys_and_grants(vault: Vault) -> tuple[list[bytes], Grants]:
    keys = [b"lgw_proj_" + secrets.token_urlsafe(32).encode() for _ in range(KEYS)]
    projects = {
        name: ProjectTerms(name, vault.seal(name, "sk-or-v1-" + secrets.token_hex(32)))
        for name in (f"project-{number}" for number in range(PROJECTS))
    }
    names = list(projects)
    grants = {
        digest(key): KeyGrant(names[number % PROJECTS], f"key-{number}", SCOPES) for number, key in enumerate(keys)
    }
    return keys, Grants(grants, projects)


def cpu_us(work: Callable[[], object], times: int = 1) -> float:
    """Median of CPU microseconds that one of `times` takes."""
    found = []
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        work()
        found.append((time.process_time_ns() - began) / 1000 / times)
    return statistics.median(found)


def checking(authenticator: Authenticator, requests: list[dict[bytes, bytes]]) -> Callable[[], None]:
    def check() -> None:
        for credentials in requests:
            with contextlib.suppress(Refusal):
                authenticator.identify(credentials, address="10.0.0.1")

    return check


def measure() -> dict[str, float]:
    """Figures by name: microseconds a check, milliseconds to load, I/O events of all checks."""
    vault = Vault([secrets.token_urlsafe(32)])
    keys, grants = keys_and_grants(vault)
    some = [keys[secrets.randbelow(KEYS)] for _ in range(CHECKS)]
    asked = {
        "a key beside the client's own": [
            {b"x-watchllm-key": key, b"authorization": b"Bearer sk-own"} for key in some
        ],
        "a key in place of the upstream's": [{b"authorization": b"Bearer " + key} for key in some],
        "a key not in force, mostly beyond the limit of guesses": [
            {b"authorization": b"Bearer lgw_proj_" + key[:20]} for key in some
        ],
    }
    with tempfile.TemporaryDirectory(prefix="watchllm-keys-") as made:
        path, ring = Path(made) / "keys.json", KeyRing()
        write_ms = cpu_us(lambda: (path.unlink(missing_ok=True), keyfile.write(path, grants))) / 1000
        load_ms = cpu_us(lambda: keyfile.take_over(path, ring)) / 1000
        figures = {"write_ms": write_ms, "load_ms": load_ms, "file_mib": path.stat().st_size / (1 << 20)}
    authenticator = Authenticator(
        ring, upstream_key="sk-up", allow_anonymous=False, open_provider_key=vault.provider_key
    )
    nobody = checking(authenticator, asked["a key beside the client's own"])
    io = IoCount()
    nobody()
    io.is_on = True
    for name, requests in asked.items():
        figures[name] = cpu_us(checking(authenticator, requests), CHECKS)
    io.is_on = False
    figures["io_events"] = io.events
    return figures


def table() -> str:
    figures = measure()
    checks = [
        f"| {name} | {figures[name]:.1f} µs |"
        for name in figures
        if name not in {"write_ms", "load_ms", "file_mib", "io_events"}
    ]
    return "\n".join(
        (
            f"| {KEYS:,} keys of {PROJECTS:,} projects | CPU |",
            "|---|---:|",
            *checks,
            f"| reads, opens and calls to the system in all of these | {figures['io_events']:.0f} |",
            f"| the key file of {figures['file_mib']:.1f} MiB written, in a thread, when a key changed |"
            f" {figures['write_ms']:.0f} ms |",
            f"| the same taken over by a worker, in a thread | {figures['load_ms']:.0f} ms |",
        )
    )
