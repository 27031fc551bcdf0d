"""CONDUCTOR of redaction: what each project wants, and calls and dead letters as they may be stored then."""

from __future__ import annotations

from dataclasses import replace

import asyncpg

from watchllm_proxy.capture import payload
from watchllm_proxy.capture.merge import MergedRecord
from watchllm_proxy.enrich.redact import RedactionPolicy, Redactor
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.records import Call
from watchllm_proxy.store.postgres import DeadLetter
from watchllm_proxy.store.redaction_modes import RedactionModes


class Redacting:
    """Nothing that the recorder stores has not been through this. For one batch at a time."""

    def __init__(self, pool: asyncpg.Pool, key: bytes, default_mode: RedactionMode) -> None:
        self._modes = RedactionModes(pool)
        self._default_mode = default_mode
        self._redactor = Redactor(key, RedactionPolicy(default_mode))

    async def follow_projects(self) -> None:
        """Redact as the projects want it now. Between two batches: a batch is redacted in one way."""
        modes = {project_id: RedactionMode(mode) for project_id, mode in (await self._modes.current()).items()}
        self._redactor.follow(RedactionPolicy(self._default_mode, modes))

    def call(self, call: Call) -> Call:
        return self._redactor.redact(call)

    def text(self, text: str, project_id: str) -> str:
        """As it stands in what is stored: a user's id that was redacted is found by this."""
        return self._redactor.text(text, project_id)

    def dead_letter(self, letter: DeadLetter, record: MergedRecord) -> DeadLetter:
        """With bytes that may be kept: those of the exchange with its bodies redacted.

        Of a record that cannot be read, and of one that even this fails on, nothing is kept: nobody knows whose it
        is or what is in it. The capture log still has it until it is trimmed.
        """
        if record.exchange is None:
            kept = self._default_mode is RedactionMode.OFF
            return letter if kept else replace(letter, payload=b"")
        if self._redactor.mode(record.exchange.project_id) is RedactionMode.OFF:
            return letter
        try:
            parts = payload.pack(self._redactor.redact_exchange(record.exchange))
            return replace(letter, payload=b"".join(part for part in parts if isinstance(part, bytes)))
        except Exception:  # the bug that set it aside may be in what redacts
            return replace(letter, payload=b"")
