"""Every route × who asks: nobody, a key that was ended, one without the scope, one of another project.

Generated from the routes, over real stores. A new address is asked for with what its places are called here
(`tenants.Tenant.ids`); a place without such a name, or a change without a body below, fails until it has one.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import pytest
import pytest_asyncio
from aiohttp import ClientResponse, web

from tests.console_runs import MemoryExports
from tests.fixtures.engines import fresh_postgres
from tests.integration.console.tenants import (
    NOWHERE,
    OURS,
    THEIRS,
    Heard,
    Tenant,
    World,
    console_over,
    filled,
    make_export,
    make_tenant,
    places_in,
    recorder_of,
)
from watchllm_proxy.console import context, correcting
from watchllm_proxy.console.app import ADMIN_ROUTES, READ_ROUTES
from watchllm_proxy.grants import Scope
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.embedded import EmbeddedClickHouse, EmbeddedPostgres
from watchllm_proxy.store.migrate import migrate_clickhouse
from watchllm_proxy.store.postgres import RunStore
from watchllm_proxy.store.sql import queries

pytestmark = pytest.mark.asyncio(loop_scope="module")

GUARDED = [*((route, Scope.READ) for route in READ_ROUTES), *((route, Scope.ADMIN) for route in ADMIN_ROUTES)]
ANYBODYS = {"index": "1", "part": "request", "language": "curl"}
"""What places of an address hold that names nothing of a project."""

RUN_FILTERS = ("session={session_id}", "user={user_id}", "agent={agent_name}", "q={text}")


@dataclass(frozen=True)
class Sent:
    """What goes with an address: one of its queries, and JSON or the fields of a form."""

    query: str = ""
    json: Mapping[str, object] | None = None
    form: Mapping[str, str] | None = None


SENT: dict[str, tuple[Sent, ...]] = {
    "GET /runs": tuple(Sent(each) for each in RUN_FILTERS),
    "GET /runs.csv": tuple(Sent(each) for each in RUN_FILTERS),
    "GET /api/agent-runs": tuple(Sent(each) for each in RUN_FILTERS),
    "GET /api/calls": (Sent("after={call_id}"),),
    "GET /api/agent-runs/{run_id}/search": (Sent("q={text}"),),
    "GET /costs": (Sent("by=agent"), Sent("by=version")),
    "GET /costs.json": (Sent("by=agent"), Sent("by=version")),
    "GET /costs.csv": (Sent("by=agent"), Sent("by=version")),
    "GET /api/keys": (Sent("project_id={project_id}"),),
    "GET /api/provider-key": (Sent("project_id={project_id}"),),
    "POST /v1/events/query": (
        Sent(json={"run_id": "{run_id}"}),
        Sent(json={"user_id": "{user_id}"}),
        Sent(json={"text_search": "{text}"}),
    ),
    "POST /api/agent-runs/{run_id}/merge": (Sent(json={"into": "{other_run_id}"}),),
    "POST /api/agent-runs/{run_id}/split": (Sent(json={"call_id": "{call_id}", "only": True}),),
    "POST /api/agent-runs/{run_id}/undo": (Sent(json={"correction_id": "{correction_id}"}),),
    "POST /runs/{run_id}/merge": (Sent(form={"into": "{other_run_id}"}),),
    "POST /runs/{run_id}/split": (Sent(form={"call_id": "{call_id}", "only": "true"}),),
    "POST /runs/{run_id}/undo": (Sent(form={"correction_id": "{correction_id}"}),),
    "POST /jobs": (Sent(form={}),),
    "POST /jobs/{job_id}/cancel": (Sent(form={}),),
    "POST /api/exports": (Sent(json={}),),
    "POST /api/exports/{job_id}/cancel": (Sent(json={}),),
    "POST /api/erasures": (
        Sent(json={"scope": "run", "subject": "{run_id}"}),
        Sent(json={"scope": "user", "subject": "{user_id}", "confirm": True}),
    ),
    "POST /api/projects": (Sent(json={"project_id": "made-here"}),),
    "POST /api/projects/{project_id}/rotate": (Sent(json={}),),
    "POST /api/projects/{project_id}/revoke": (Sent(json={}),),
    "POST /api/keys": (Sent(json={"name": "made here", "project_id": "{project_id}"}),),
    "POST /api/keys/{key_id}/rotate": (Sent(json={}), Sent(json={"project_id": "{project_id}"})),
    "DELETE /api/keys/{key_id}": (Sent(), Sent("project_id={project_id}")),
    "PATCH /api/keys/{key_id}/limits": (
        Sent(json={"requests_per_minute": 5}),
        Sent(json={"requests_per_minute": 5, "project_id": "{project_id}"}),
    ),
    "PUT /api/provider-key": (Sent(json={"provider_key": "sk-made-here", "project_id": "{project_id}"}),),
    "DELETE /api/provider-key": (Sent("project_id={project_id}"),),
    "GET /settings/keys": (Sent("project_id={project_id}"),),
    "POST /settings/keys": (Sent(form={"name": "made here", "scope": "read", "project_id": "{project_id}"}),),
    "POST /settings/keys/{key_id}/rotate": (Sent(form={"grace_s": "0", "project_id": "{project_id}"}),),
    "POST /settings/keys/{key_id}/revoke": (Sent(form={"project_id": "{project_id}"}),),
    "POST /settings/keys/{key_id}/limits": (
        Sent(form={"requests_per_minute": "5"}),
        Sent(form={"requests_per_minute": "5", "project_id": "{project_id}"}),
    ),
    "POST /settings/provider-key": (Sent(form={"remove": "", "project_id": "{project_id}"}),),
    "POST /settings/projects": (Sent(form={"project_id": "made-here"}),),
    "POST /settings/projects/{project_id}": (Sent(form={"name": "Another name"}),),
    "POST /settings/projects/{project_id}/rotate": (Sent(form={"grace_s": "0"}),),
    "POST /settings/projects/{project_id}/revoke": (Sent(form={"sure": "true"}),),
    "POST /pricing": (Sent(form={"wanted_plan": "pro"}),),
    "GET /api/project": (Sent("project_id={project_id}"),),
    "PATCH /api/project": (
        Sent(json={"over_quota": "pass"}),
        Sent(json={"over_quota": "pass", "project_id": "{project_id}"}),
    ),
    "POST /settings/data": (Sent(form={"retention_days": "30"}),),
    "POST /settings/data/erase": (
        Sent(form={"scope": "run", "subject": "{run_id}"}),
        Sent(form={"scope": "user", "subject": "{user_id}"}),
    ),
    "POST /settings/flags": (Sent(form={"loop_times": "4"}),),
    "POST /settings/redaction": (Sent(form={"mode": "all"}),),
    "PATCH /api/redaction": (Sent(json={"mode": "all"}),),
    "POST /api/redaction/try": (Sent(json={"text": "x"}),),
    "POST /settings/prices": (Sent(form={"remove": "{other_model}"}),),
    "PUT /api/prices": (Sent(json={"model": "made-here", "prices": {"input": 1}}),),
    "DELETE /api/prices": (Sent("model={model}"),),
}
"""A GET that is not here is asked for as it is; a change that is not here is not known to be safe."""

AGO = re.compile(r"\bjust now\b|\b\d+ (s|min) ago\b")
OPERATORS_ALONE = {"POST /api/projects", "POST /settings/projects"}
"""Refused to whoever administers another project than `default`."""


@dataclass(frozen=True)
class Case:
    """A request, its places not filled in yet."""

    method: str
    path: str
    needed: Scope
    sent: Sent = field(default_factory=Sent)

    def __str__(self) -> str:
        return f"{self.method} {self.target} {json.dumps(self.sent.json or self.sent.form or '')}"

    @property
    def target(self) -> str:
        return self.path + (f"?{self.sent.query}" if self.sent.query else "")

    @property
    def places(self) -> set[str]:
        return places_in([self.target, self.sent.json, self.sent.form]) - ANYBODYS.keys()


def documented(route: web.RouteDef) -> str:
    """The path with plain places; one that may hold few words gets one of them."""
    return re.sub(r"\{(\w+):\\d\{[^}]*\}\}", r"{\1}", re.sub(r"\{(\w+):[^}\\]*\}", r"{\1}", route.path))


def cases() -> list[Case]:
    found = []
    for route, needed in GUARDED:
        path = documented(route)
        plain = (Sent(),) if route.method == "GET" else ()
        sent = SENT.get(f"{route.method} {path}", ())
        found += [Case(route.method, path, needed, each) for each in (*plain, *sent)]
    return found


CASES = cases()
NAMING = [(case, place) for case in CASES for place in sorted(case.places)]


async def ask(world: World, case: Case, key: str | None, ids: Mapping[str, str], **headers: str) -> ClientResponse:
    known = {**ids, **ANYBODYS}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    return await world.client.request(
        case.method,
        str(filled(case.target, known)),
        json=None if case.sent.json is None else filled(case.sent.json, known),
        data=None if case.sent.form is None else filled(case.sent.form, known),
        headers={"Accept": "application/json", **headers},
        allow_redirects=False,
    )


async def answered(world: World, case: Case, place: str, of: Mapping[str, str]) -> tuple[int, str, list[str]]:
    """Theirs ask, with one place filled from `of`: the status, what is said but for that name, and what the stores
    were asked."""
    ids = {**world.theirs.ids, place: of[place]}
    await ask(world, case, world.theirs.keys["all"], ids)  # what is known for a while is known from here on
    world.heard.take()
    answer = await ask(world, case, world.theirs.keys["all"], ids)
    said = f"{answer.headers.get('Location')}\n{await answer.text()}".replace(of[place], "⟨name⟩")
    return answer.status, said, sorted(world.heard.take())  # some are asked side by side


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    postgres: EmbeddedPostgres, embedded_clickhouse: EmbeddedClickHouse, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """Theirs were here first, and what they see was noted before ours came: `World.seen_before`."""
    directory: Path = tmp_path_factory.mktemp("tenants")
    async with AsyncExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        now_ns = time.time_ns()
        patch.setattr(
            context, "time", SimpleNamespace(time_ns=lambda: now_ns)
        )  # pages tell ages, hours and months
        dsn = stack.enter_context(fresh_postgres(postgres))
        runs = await RunStore.open(dsn)
        stack.push_async_callback(runs.close)
        owner = await asyncpg.connect(dsn.replace("//watchllm_app@", "//watchllm_owner@"))
        stack.push_async_callback(owner.close)
        store = embedded_clickhouse.connect("tenants")
        stack.callback(store.close)
        await migrate_clickhouse(AsyncEventStore(store), postgres.owner_dsn)
        recording = await stack.enter_async_context(recorder_of(directory, runs, store))
        heard = Heard()
        theirs, exports = await make_tenant(recording, THEIRS), MemoryExports(directory)
        make_export(exports, theirs)
        async with console_over(runs.pool, store, heard, exports) as client:
            seen = await lists(World(owner, client, heard, Tenant(OURS), theirs))
        ours = await make_tenant(recording, OURS)
        make_export(exports, ours)
        async with console_over(runs.pool, store, heard, exports) as client:
            yield World(owner, client, heard, ours, theirs, seen)


async def lists(world: World) -> dict[str, tuple[int, str]]:
    """What their key sees at every address that names nothing, and at those that name what is theirs."""
    found = {}
    for case in (each for each in CASES if each.method == "GET"):
        answer = await ask(world, case, world.theirs.keys["all"], world.theirs.ids)
        text = AGO.sub("⟨ago⟩", await answer.text())
        found[str(case)] = answer.status, text.replace(str(world.client.port), "⟨port⟩")
    return found


# --- all is under test ------------------------------------------------------------------------------


async def test_every_change_has_a_body_here_and_every_body_a_route() -> None:
    routes = {f"{route.method} {documented(route)}" for route, _ in GUARDED}
    changes = {each for each in routes if not each.startswith("GET ")}
    assert changes <= SENT.keys() <= routes


async def test_every_place_has_a_name_here() -> None:
    assert {place for case in CASES for place in case.places} <= NOWHERE.keys()


# --- who may not --------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_who_shows_no_key_in_force_or_lacks_the_scope_is_refused_before_anything_is_looked_up(
    world: World, case: Case
) -> None:
    rows = await world.rows_of(OURS)
    world.heard.take()
    said = set()
    for key in (None, world.ours.keys["revoked"], "lgw_proj_" + "x" * 43):
        answer = await ask(world, case, key, world.ours.ids)
        assert answer.status == 401
        said.add(await answer.text())
    assert len(said) == 1, "an ended key looks like one that never was"
    answer = await ask(world, case, world.ours.keys[f"all but {case.needed}"], world.ours.ids)
    assert (answer.status, (await answer.json())["error"]["code"]) == (403, f"{case.needed}_scope_required")
    assert world.heard.take() == []
    assert await world.rows_of(OURS) == rows


@pytest.mark.parametrize(("case", "place"), NAMING, ids=[f"{case} {place}" for case, place in NAMING])
async def test_what_is_of_another_project_is_answered_like_what_is_nowhere(
    world: World, case: Case, place: str
) -> None:
    """To the letter, after the same questions to the stores; and nothing of it changes."""
    rows = await world.rows_of(OURS)
    foreign = await answered(world, case, place, world.ours.ids)
    nowhere = await answered(world, case, place, NOWHERE)
    assert foreign == nowhere
    assert foreign[0] in {200, 404} if case.method == "GET" or "query" in case.path else foreign[0] == 404
    assert OURS not in foreign[1]
    assert await world.rows_of(OURS) == rows


async def test_no_list_count_or_page_of_a_project_changed_when_another_came(world: World) -> None:
    now = await lists(world)
    for name, seen in world.seen_before.items():
        assert seen[0] < 400, name
        assert now[name] == seen, name
        assert OURS not in now[name][1], name


async def test_what_theirs_see_was_there_to_be_seen(world: World) -> None:
    """The test above would find ours among it."""
    own = [text for _, text in world.seen_before.values()]
    assert sum(THEIRS in text for text in own) >= 20


# --- row security alone -------------------------------------------------------------------------------

OF_THE_PROJECT = re.compile(r"\b(\w+\.)?project_id = \$1\b")


@pytest.fixture
def without_filters(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every condition on the project in a reading statement of Postgres holds for every row; which those are."""
    statements = queries("postgres")
    forgetful = {
        name: OF_THE_PROJECT.sub("$1::text IS NOT NULL", sql)
        for name, sql in statements.items()
        if OF_THE_PROJECT.search(sql) and not re.search(r"\b(INSERT|UPDATE|DELETE)\b", sql)
    }
    for name, sql in forgetful.items():
        monkeypatch.setitem(statements, name, sql)
    return set(forgetful.values())


@pytest.mark.usefixtures("without_filters")
async def test_where_every_statement_forgets_the_project_row_security_shows_nothing_more(world: World) -> None:
    """ClickHouse has no such second line: what is asked of it is held by the tests above alone."""
    now = await lists(world)
    assert {name for name, seen in world.seen_before.items() if now[name] != seen} == set()
    for case, place in NAMING:
        if case.method == "GET":
            status, said, _ = await answered(world, case, place, world.ours.ids)
            assert status in {200, 404}, case
            assert OURS not in said, case


async def test_the_statements_that_forget_are_those_that_pages_ask(
    world: World, without_filters: set[str]
) -> None:
    world.heard.take()
    await lists(world)
    assert len(without_filters & set(world.heard.take())) >= 10


# --- who may: last, for it changes ours ----------------------------------------------------------------


async def test_whom_it_belongs_to_gets_every_one_of_these_answers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the refusals above would be of addresses that lead nowhere."""
    monkeypatch.setattr(correcting, "WAIT_S", 0.0)
    for case in sorted(CASES, key=lambda each: (each.method in {"DELETE"}, "revoke" in each.path)):
        answer = await ask(world, case, world.ours.keys["all"], world.ours.ids)
        if f"{case.method} {case.path}" in OPERATORS_ALONE:
            assert (answer.status, (await answer.json())["error"]["code"]) == (403, "operator_required")
        else:
            assert answer.status in {200, 201, 202, 302, 303, 409}, (
                f"{case}: {answer.status} {await answer.text()}"
            )
