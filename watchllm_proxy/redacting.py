"""CONDUCTOR of redaction: what each project wants, and calls and dead letters as they may be stored then.

And the desk at which a person looks that up, changes it and tries it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import asyncpg
import structlog

from watchllm_proxy.capture import payload
from watchllm_proxy.capture.merge import MergedRecord
from watchllm_proxy.console.redaction import Tried, Wishes
from watchllm_proxy.decode.ids import refuses_content
from watchllm_proxy.enrich.redact import RedactionPolicy, Redactor
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.enrich.redaction.own import BadRule, OwnRule, own_rules
from watchllm_proxy.enrich.redaction.tags import KEY_BYTES
from watchllm_proxy.records import Call, Report
from watchllm_proxy.rule_probe import refuse_slow
from watchllm_proxy.store import project_settings
from watchllm_proxy.store.postgres import DeadLetter
from watchllm_proxy.store.project_settings import AllProjectSettings, ProjectSettings

log = structlog.get_logger(__name__)


class Redacting:
    """Nothing that the recorder stores has not been through this. For one batch at a time."""

    def __init__(self, pool: asyncpg.Pool, key: bytes, default_mode: RedactionMode) -> None:
        self._settings = AllProjectSettings(pool)
        self._followed: Mapping[str, ProjectSettings] = {}
        self._without_content: frozenset[str] = frozenset()
        self._default_mode = default_mode
        self._redactor = Redactor(key, RedactionPolicy(default_mode))

    async def follow_projects(self) -> None:
        """Redact as the projects want it now. Between two batches: a batch is redacted in one way."""
        settings = await self._settings.current()
        if settings is self._followed:
            return
        policy, unusable = policy_of(settings.values(), self._default_mode)
        for project_id, problem in unusable.items():
            log.error("redacting.rules_unusable", project_id=project_id, rule=problem.number, field=problem.field)
        refused = {project_id for project_id, each in settings.items() if not each.store_content}
        self._redactor.follow(policy)
        self._without_content = frozenset(refused | unusable.keys())
        self._followed = settings

    @property
    def settings(self) -> Mapping[str, ProjectSettings]:
        """Of all projects, as they are followed now."""
        return self._followed

    def call(self, call: Call) -> Call:
        """As it may be stored. Of a project that wants no content kept it is marked as refused by its client."""
        redacted = self._redactor.redact(call)
        if call.project_id not in self._without_content:
            return redacted
        return replace(redacted, is_content_refused=True, redaction_mode=f"{redacted.redaction_mode}, no content")

    def report(self, report: Report) -> Report:
        """Marked as refused by its client where its project wants no content kept. Its words are still in it."""
        if report.project_id not in self._without_content:
            return report
        return replace(report, is_content_refused=True)

    def document(self, document: bytes, project_id: str) -> tuple[bytes, tuple[tuple[str, int], ...]]:
        """JSON of a report as it may be stored, and what was taken out of it, by kind."""
        return self._redactor.document(document, project_id)

    def text(self, text: str, project_id: str) -> str:
        """As it stands in what is stored: a user's id that was redacted is found by this."""
        return self._redactor.text(text, project_id)

    def dead_letter(self, letter: DeadLetter, record: MergedRecord) -> DeadLetter:
        """With bytes that may be kept: those of the exchange with its bodies redacted.

        Of a record that cannot be read, and of one that even this fails on, nothing is kept: nobody knows whose it
        is or what is in it. Nor of one whose client or project wants no content kept. The capture log still has it
        until it is trimmed.
        """
        if record.report is not None:
            return replace(letter, payload=self._report_as_kept(record.report))
        if record.exchange is None:
            kept = self._default_mode is RedactionMode.OFF
            return letter if kept else replace(letter, payload=b"")
        is_refused = refuses_content(record.exchange.request_headers)
        if is_refused or record.exchange.project_id in self._without_content:
            return replace(letter, payload=b"")
        if self._redactor.mode(record.exchange.project_id) is RedactionMode.OFF:
            return letter
        try:
            parts = payload.pack(self._redactor.redact_exchange(record.exchange))
            return replace(letter, payload=b"".join(part for part in parts if isinstance(part, bytes)))
        except Exception:  # the bug that set it aside may be in what redacts
            return replace(letter, payload=b"")

    def _report_as_kept(self, report: Report) -> bytes:
        if report.is_content_refused or report.project_id in self._without_content:
            return b""
        try:
            body, _ = self._redactor.document(report.body, report.project_id)
            parts = payload.pack_report(replace(report, body=body))
            return b"".join(part for part in parts if isinstance(part, bytes))
        except Exception:  # the bug that set it aside may be in what redacts
            return b""


class ProjectRedaction:
    """The desk: `console.redaction.RedactionDesk` over what the projects' settings hold."""

    def __init__(self, pool: asyncpg.Pool, key: bytes, default_mode: RedactionMode) -> None:
        self._pool = pool
        self._stored = Redacting(pool, key, default_mode)
        self._throwaway_key = os.urandom(KEY_BYTES)

    async def wishes(self, project_id: str) -> Wishes:
        settings = await project_settings.of_project(self._pool, project_id)
        if settings is None:
            return Wishes()
        mode = None if settings.redaction is None else RedactionMode(settings.redaction)
        rules = tuple(OwnRule(name, pattern) for name, pattern in settings.redaction_rules)
        return Wishes(mode, rules, settings.store_content)

    async def change(self, project_id: str, wishes: Wishes) -> None:
        await asyncio.to_thread(refuse_slow, wishes.rules)

        def edit(before: ProjectSettings) -> ProjectSettings:
            return replace(
                before,
                redaction=wishes.mode,
                redaction_rules=tuple((rule.name, rule.pattern) for rule in wishes.rules),
                store_content=wishes.store_content,
            )

        if await project_settings.change(self._pool, project_id, edit) is None:
            raise LookupError(project_id)

    def tried(self, text: str, mode: RedactionMode, rules: Sequence[OwnRule]) -> Tried:
        refuse_slow(tuple(rules))
        policy = RedactionPolicy(mode, own_rules={"": tuple(rules)})
        return Tried(*Redactor(self._throwaway_key, policy).shown(text, ""))

    async def as_stored(self, project_id: str, text: str) -> str:
        await self._stored.follow_projects()
        return self._stored.text(text, project_id)


def policy_of(
    settings: Iterable[ProjectSettings], default_mode: RedactionMode
) -> tuple[RedactionPolicy, dict[str, BadRule]]:
    """What projects want, and those whose rules cannot be used, although they could when they were set.

    Of these nobody knows what they wanted taken out.
    """
    modes: dict[str, RedactionMode] = {}
    rules: dict[str, tuple[OwnRule, ...]] = {}
    unusable: dict[str, BadRule] = {}
    for each in settings:
        if each.redaction is not None:
            modes[each.project_id] = RedactionMode(each.redaction)
        own = tuple(OwnRule(name, pattern) for name, pattern in each.redaction_rules)
        try:
            own_rules(own)
        except BadRule as exc:
            unusable[each.project_id] = exc
        else:
            rules[each.project_id] = own
    return RedactionPolicy(default_mode, modes, {name: own for name, own in rules.items() if own}), unusable
