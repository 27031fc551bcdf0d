"""Two projects with everything a project can have, and the console over them as the product builds it."""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import asyncpg
from aiohttp.test_utils import TestClient, TestServer

from tests.console_runs import T0, MemoryExports
from tests.integration.conductors.recording import Recording, chat, run_until_stored
from watchllm_proxy.access import ConsoleAccess
from watchllm_proxy.console import Health, build_app
from watchllm_proxy.console.files import set_apart
from watchllm_proxy.console.jobs import ExportJob, JobState
from watchllm_proxy.decode import rebuild
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.grants import ALL_SCOPES, Scope
from watchllm_proxy.proxy.auth import KeyRing
from watchllm_proxy.records import Body, Correction, CorrectionKind, Exchange, Report, ReportKind
from watchllm_proxy.redacting import ProjectRedaction
from watchllm_proxy.sealing import Vault
from watchllm_proxy.settings import Settings
from watchllm_proxy.store import keys, prices, project_settings, projects, provider_keys, usage
from watchllm_proxy.store.clickhouse import AsyncEventStore, EventStore
from watchllm_proxy.store.corrections import Corrections
from watchllm_proxy.store.postgres import RunStore
from watchllm_proxy.store.reading import StoreReading
from watchllm_proxy.store.sql import queries
from watchllm_proxy.store.usage import CountedDay, RequestCounts

OURS, THEIRS = "acme", "globex"
AGO_S = 50 * 3600
"""How old everything is: its runs have ended."""

SECRET_KEY = "s" * 44
NOWHERE: Mapping[str, str] = {
    "run_id": "nowhere-run", "other_run_id": "nowhere-run-2", "session_id": "nowhere-session",
    "user_id": "nowhere-user", "agent_name": "nowhere-agent", "project_id": "nowhere",
    "model": "nowhere-model", "other_model": "nowhere-model-2", "text": "nowhere-text",
    "call_id": "00000000-0000-4000-8000-00000000fffe", "job_id": "00000000-0000-4000-8000-00000000fffb",
    "digest": "f" * 32,
    "key_id": "00000000-0000-4000-8000-00000000fffd", "correction_id": "00000000-0000-4000-8000-00000000fffc",
}  # fmt: skip
"""What `Tenant.ids` holds, of nobody."""

KNOWN_FOR_A_WHILE = ("plan_of_project", "settings_of_projects")
"""Asked by the clock, whatever a request names."""


@dataclass
class Tenant:
    """A project: what its things are called, and its keys by name."""

    project_id: str
    ids: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict, repr=False)


class Heard:
    """What the stores were asked: statements of ours, in order."""

    def __init__(self) -> None:
        sql = queries("postgres")
        self._passed_over = {sql[name] for name in KNOWN_FOR_A_WHILE}
        self.asked: list[str] = []

    def note(self, statement: str) -> None:
        is_ours = not statement.lstrip().startswith(("BEGIN", "COMMIT", "ROLLBACK", "SELECT set_config"))
        if is_ours and "set_config('role'" not in statement and statement not in self._passed_over:
            self.asked.append(statement)

    def take(self) -> list[str]:
        asked, self.asked = self.asked, []
        return asked


class HeardPool:
    """A pool whose every statement is noted."""

    def __init__(self, pool: asyncpg.Pool, heard: Heard) -> None:
        self._pool = pool
        self._heard = heard

    @asynccontextmanager
    async def acquire(self, *, timeout: float) -> AsyncIterator[asyncpg.Connection]:
        async with self._pool.acquire(timeout=timeout) as connection:
            with connection.query_logger(lambda record: self._heard.note(record.query)):
                yield connection


class HeardEvents(AsyncEventStore):
    """A ClickHouse whose every question is noted."""

    heard: Heard

    async def query(self, sql: str, params: Mapping[str, object] | None = None) -> Sequence[object]:  # type: ignore[override]
        self.heard.note(sql)
        return await super().query(sql, params)  # type: ignore[arg-type]


@dataclass
class World:
    """`client` asks the console; `ours` and `theirs` are strangers to each other."""

    owner: asyncpg.Connection
    client: TestClient
    heard: Heard
    ours: Tenant
    theirs: Tenant
    seen_before: dict[str, tuple[int, str]] = field(default_factory=dict)

    async def rows_of(self, project_id: str) -> dict[str, str | None]:
        """By table, a fingerprint of all that Postgres holds of it."""
        tables = await self.owner.fetch(
            "SELECT table_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND column_name = 'project_id' ORDER BY 1"
        )
        return {
            table: await self.owner.fetchval(
                f"SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM {table} t WHERE project_id = $1",
                project_id,
            )
            for (table,) in tables
        }


@asynccontextmanager
async def recorder_of(directory: Path, runs: RunStore, store: EventStore) -> AsyncIterator[Recording]:
    recording = Recording(directory, runs, AsyncEventStore(store), store)
    yield recording
    for writer in recording.writers.values():
        await writer.close()


async def make_tenant(recording: Recording, project_id: str) -> Tenant:
    """A project with runs, calls, raw bodies, events, a correction, keys, prices, rules, limits and usage."""
    pool = recording.runs.pool
    await projects.create_project(pool, project_id, f"The {project_id} company")
    tenant = Tenant(project_id, {"project_id": project_id})
    await _settings(pool, tenant)
    await _keys(pool, tenant)
    await _runs(recording, tenant)
    return tenant


def make_export(exports: MemoryExports, tenant: Tenant) -> None:
    """One that is done, and its file."""
    job = ExportJob(uuid4(), tenant.project_id, T0, JobState.DONE, ended_at_us=T0)
    exports.ask(job)
    tenant.ids["job_id"] = str(job.job_id)
    (exports.directory / f"{job.job_id}.ndjson").write_text(tenant.project_id)


async def _settings(pool: asyncpg.Pool, tenant: Tenant) -> None:
    project_id = tenant.project_id
    await provider_keys.set_provider_key(pool, project_id, f"sk-of-{project_id}", Vault([SECRET_KEY]).seal)
    for name in ("model", "other_model"):
        tenant.ids[name] = f"{project_id}-{name}"
        await prices.set_override(pool, project_id, tenant.ids[name], {"input": "1.5"})
    await project_settings.change(
        pool,
        project_id,
        lambda before: replace(
            before,
            redaction_rules=((f"rule_{project_id}", f"{project_id}-[0-9]{{9}}"),),
            monthly_cap_usd=Decimal(77),
        ),
    )
    today = datetime.now(UTC).date()
    await usage.save_counts(pool, f"w-{project_id}", [CountedDay(project_id, today, RequestCounts(passed=77_777))])


async def _keys(pool: asyncpg.Pool, tenant: Tenant) -> None:
    made = await keys.create_key(pool, tenant.project_id, f"{tenant.project_id}-laptop", scopes=list(ALL_SCOPES))
    tenant.ids["key_id"] = str(made.info.key_id)
    tenant.keys["all"] = (await keys.create_key(pool, tenant.project_id, "all", scopes=list(ALL_SCOPES))).key
    for scope in Scope:
        some = await keys.create_key(pool, tenant.project_id, f"all but {scope}", scopes=[*ALL_SCOPES - {scope}])
        tenant.keys[f"all but {scope}"] = some.key
    revoked = await keys.create_key(pool, tenant.project_id, "revoked", scopes=list(ALL_SCOPES))
    await keys.revoke_key(pool, tenant.project_id, revoked.info.key_id)
    tenant.keys["revoked"] = revoked.key


async def _runs(recording: Recording, tenant: Tenant) -> None:
    project_id, at_us = tenant.project_id, time.time_ns() // 1000 - AGO_S * 1_000_000
    tenant.ids |= {
        "run_id": f"{project_id}-run", "other_run_id": f"{project_id}-run-2",
        "session_id": f"{project_id}-session", "user_id": f"{project_id}-user",
        "agent_name": f"{project_id}-agent", "text": f"{project_id}-run",
    }  # fmt: skip
    headers = (
        ("X-Session-Id", tenant.ids["session_id"]),
        ("X-User-Id", tenant.ids["user_id"]),
        ("X-Agent-Name", tenant.ids["agent_name"]),
    )

    note = f"data:text/plain;base64,{b64encode(f'This is of {project_id}. '.encode() * 9).decode()}"
    (tenant.ids["digest"],) = [file.digest for file in set_apart(note.encode()).files.values()]

    def call(number: int, run: str) -> Exchange:
        plain = chat(number, run=run, ended_at_us=at_us + number * 1_000_000)
        body = plain.request_body.content.replace(b"Question", f"{note} Question".encode())
        sent = (*plain.request_headers, *headers)
        return replace(plain, project_id=project_id, request_headers=sent, request_body=Body(body, len(body)))

    runs = [tenant.ids["run_id"]] * 3 + [tenant.ids["other_run_id"]]
    calls = await recording.write([call(number, run) for number, run in enumerate(runs)], log=project_id)
    tenant.ids["call_id"] = str(calls[1])
    event = {
        "event_type": "error", "event_id": f"{project_id}-event", "timestamp": "2026-01-15T10:00:00Z",
        "run_id": tenant.ids["run_id"], "user_id": tenant.ids["user_id"], "error": {"message": project_id},
    }  # fmt: skip
    report = Report(uuid4(), project_id, ReportKind.EVENTS, None, json.dumps([event]).encode(), at_us)
    await recording.write_reports([report], log=project_id)
    await run_until_stored(recording.recorder(keep_raw_days=7))
    split = Correction(
        uuid4(), project_id, CorrectionKind.SPLIT, tenant.ids["run_id"], at_us + 9_000_000, call_id=calls[2]
    )
    await Corrections(recording.runs.pool).ask(split)
    await run_until_stored(recording.recorder(keep_raw_days=7))
    tenant.ids["correction_id"] = str(split.correction_id)


@asynccontextmanager
async def console_over(
    pool: asyncpg.Pool, store: EventStore, heard: Heard, exports: MemoryExports
) -> AsyncIterator[TestClient]:
    """As `core` builds it, with the keys that are in force now; what it asks of the stores is noted."""

    async def well() -> Health:
        return Health()

    _, grants = await keys.load_grants(pool)
    assert grants is not None
    own_pool, events = HeardPool(pool, heard), HeardEvents(store)
    events.heard = heard
    settings = Settings(secret_keys=(SECRET_KEY,), allow_anonymous=False)
    access = ConsoleAccess(KeyRing(grants), own_pool, allow_anonymous=False, is_loopback=True)  # type: ignore[arg-type]
    app = build_app(
        StoreReading(own_pool, events, rebuild=rebuild),  # type: ignore[arg-type]
        settings=settings,
        health=well,
        visitor_of=access.visitor_of,
        desk=Corrections(own_pool),  # type: ignore[arg-type]
        exports=exports,
        pool=own_pool,  # type: ignore[arg-type]
        redaction=ProjectRedaction(own_pool, b"k" * 32, RedactionMode.OFF),  # type: ignore[arg-type]
    )
    async with TestClient(TestServer(app)) as client:
        yield client


def filled(template: object, ids: Mapping[str, str]) -> object:
    """The template with each `{place}` filled from `ids`, at any depth."""
    if isinstance(template, str):
        return re.sub(r"\{(\w+)\}", lambda place: ids[place[1]], template)
    if isinstance(template, Mapping):
        return {name: filled(value, ids) for name, value in template.items()}
    return template


def places_in(template: object) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", json.dumps(template)))
