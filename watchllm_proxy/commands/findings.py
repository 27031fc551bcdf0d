"""What `watchllm doctor` finds: one sentence each, and what to do next where something is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"  # works, but look at it
    PROBLEM = "problem"  # will not work; exit status 1


@dataclass(frozen=True, slots=True)
class Finding:
    """`area` is one word (settings, port, data, …). Texts hold no secrets: addresses without user or password."""

    area: str
    level: Level
    text: str
    next_step: str | None = None


def ok(area: str, text: str) -> Finding:
    return Finding(area, Level.OK, text)


def warning(area: str, text: str, next_step: str) -> Finding:
    return Finding(area, Level.WARNING, text, next_step)


def problem(area: str, text: str, next_step: str) -> Finding:
    return Finding(area, Level.PROBLEM, text, next_step)
