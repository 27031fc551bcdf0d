"""What the stores know of a month and this machine does not: a small file, for no request waits for a database.

The process that can reach Postgres writes it every few seconds; every worker reads it when it changed. It outlives
a restart of everything: a database that is away frees nobody from a quota that is used up.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FILE_NAME = "report.json"


@dataclass(frozen=True, slots=True)
class UsageReport:
    """As of some seconds ago. Of another month than this one it says nothing."""

    month: str = ""
    elsewhere: Mapping[str, int] = field(default_factory=dict)
    """Requests by project that count against a quota and that no file of this machine holds."""
    capped_projects: frozenset[str] = frozenset()
    capped_keys: frozenset[str] = frozenset()
    """Those that spent what they may in the month: ids."""


NOTHING_KNOWN = UsageReport()


def write_report(directory: Path, report: UsageReport) -> None:
    """Replace the file at once: a reader sees the old or the new one, never half."""
    content = {
        "month": report.month,
        "elsewhere": dict(sorted(report.elsewhere.items())),
        "capped_projects": sorted(report.capped_projects),
        "capped_keys": sorted(report.capped_keys),
    }
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = directory / f".{FILE_NAME}.{os.getpid()}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file)
    fresh.replace(directory / FILE_NAME)


def read_report(directory: Path) -> UsageReport:
    """Nothing is known while there is no file. Raises OSError or ValueError for one that is no good."""
    try:
        content: object = json.loads((directory / FILE_NAME).read_bytes())
    except FileNotFoundError:
        return NOTHING_KNOWN
    if not isinstance(content, dict):
        raise ValueError("no report of usage")
    try:
        return UsageReport(
            month=str(content["month"]),
            elsewhere={str(project_id): int(passed) for project_id, passed in content["elsewhere"].items()},
            capped_projects=frozenset(map(str, content["capped_projects"])),
            capped_keys=frozenset(map(str, content["capped_keys"])),
        )
    except (AttributeError, KeyError, TypeError) as exc:
        raise ValueError("no report of usage") from exc


def changed_at(directory: Path) -> int | None:
    """A stamp that differs when the file does; None when there is none."""
    try:
        return (directory / FILE_NAME).stat().st_mtime_ns
    except FileNotFoundError:
        return None
