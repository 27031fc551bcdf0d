"""CONDUCTOR of a suspicion: that thinking about one record ends every process that tries.

A start that takes up a pending batch of one record keeps a note while it thinks, and only then: not while it waits
for a store, reads or writes one. A note that the next start finds was left by a process that ended in just that
moment. So many of them in a row, and the record is set aside. Whoever kills from outside would have to meet the
thousandth of a second of each start that the thinking takes; one thought that came to its end clears the record
(decision 0257).

The note is a file: what has to be noted must not wait for a store, and a `kill -9` leaves it behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import structlog

from watchllm_proxy import crash_points

log = structlog.get_logger(__name__)

ENDED_AT_MOST = 3
"""Processes that a record may end before it is set aside."""


class Suspicion:
    """Of the one record of the pending batch that was taken up, if there is just one. Without `note` of none."""

    def __init__(self, note: Path | None) -> None:
        self._note = note
        self._record_id: UUID | None = None
        self._ended = 0

    def take_up(self, record_id: UUID) -> int:
        """How many processes in a row it has ended. From now on what is thought is thought about it."""
        if self._note is None:
            return 0
        self._record_id, self._ended = record_id, self._ended_by(record_id)
        if self._ended:
            log.warning("recorder.record_suspected", record_id=str(record_id), ended=self._ended)
            self._write(at_work=False)
        return self._ended

    def clear(self) -> None:
        """It is thought about, or set aside. What follows is others' thinking."""
        if self._record_id is not None and self._note is not None:
            self._record_id, self._ended = None, 0
            with contextlib.suppress(OSError):
                self._note.unlink(missing_ok=True)

    @contextlib.contextmanager
    def thinking(self) -> Iterator[None]:
        """Hold the note. Who runs out of memory ends, and leaves it."""
        if self._record_id is None:
            yield
            return
        self._write(at_work=True)
        crash_points.reach("recorder.thinking_alone")
        try:
            yield
        except MemoryError:
            raise
        except (Exception, asyncio.CancelledError):
            self._write(at_work=False)
            raise
        self._write(at_work=False)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """In the midst of `thinking`, for a store."""
        if self._record_id is None:
            yield
            return
        self._write(at_work=False)
        yield
        self._write(at_work=True)

    def _ended_by(self, record_id: UUID) -> int:
        if self._note is None:
            return 0
        try:
            found = json.loads(self._note.read_bytes())
            if found["record_id"] != str(record_id):
                return 0
            return int(found["ended"]) + int(found["at_work"])
        except (OSError, ValueError, KeyError, TypeError):  # there is none, or no whole one: nobody is accused
            return 0

    def _write(self, *, at_work: bool) -> None:
        """A disk that is full takes none: then the record is tried again, as before."""
        if self._note is None:
            return
        said = {"record_id": str(self._record_id), "ended": self._ended, "at_work": at_work}
        beside = self._note.with_suffix(".new")
        try:
            beside.write_text(json.dumps(said))
            os.replace(beside, self._note)
        except OSError as exc:
            log.warning("recorder.suspicion_not_noted", error=str(exc))
            with contextlib.suppress(OSError):
                self._note.unlink(missing_ok=True)
