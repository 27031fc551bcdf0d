"""What is taken out of a project's calls: looked up, changed and tried, over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.console_runs import MemoryReading, make_call, refund_run
from watchllm_proxy.console import Health, build_app
from watchllm_proxy.console.context import Visitor
from watchllm_proxy.console.redaction import MAX_TRIED_CHARACTERS, Tried, Wishes
from watchllm_proxy.enrich.redact import RedactionPolicy, Redactor
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.enrich.redaction.own import MAX_RULES, OwnRule
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.grants import Scope
from watchllm_proxy.settings import Settings

Client = TestClient[web.Request, web.Application]
EMPLOYEE = {"name": "employee", "pattern": "EMP-[0-9]{6}"}
TEXT = "EMP-123456 wrote to bob@example.com"


class MemoryRedaction:
    """The desk without a store; a value is stored as "stored " and itself."""

    def __init__(self) -> None:
        self.kept = Wishes()

    async def wishes(self, project_id: str) -> Wishes:
        return self.kept

    async def change(self, project_id: str, wishes: Wishes) -> None:
        self.kept = wishes

    def tried(self, text: str, mode: RedactionMode, rules: Sequence[OwnRule]) -> Tried:
        policy = RedactionPolicy(mode, own_rules={"": tuple(rules)})
        return Tried(*Redactor(bytes(32), policy).shown(text, ""))

    async def as_stored(self, project_id: str, text: str) -> str:
        return f"stored {text}"


@pytest.fixture
def desk() -> MemoryRedaction:
    return MemoryRedaction()


@pytest.fixture
def reading() -> MemoryReading:
    return MemoryReading([refund_run()], [])


@pytest.fixture
def scopes() -> set[Scope]:
    return set(Scope)


@pytest.fixture
async def client(
    desk: MemoryRedaction,
    reading: MemoryReading,
    scopes: set[Scope],
    aiohttp_client: Callable[[web.Application], Awaitable[Client]],
) -> Client:
    async def health() -> Health:
        return Health()

    async def visitor(request: web.Request) -> Visitor:
        return Visitor("default", frozenset(scopes))

    app = build_app(reading, settings=Settings(), health=health, visitor_of=visitor, redaction=desk)
    return await aiohttp_client(app)


async def test_what_is_changed_stays_and_what_is_left_out_stays_as_it_was(
    client: Client, desk: MemoryRedaction
) -> None:
    async with client.patch("/api/redaction", json={"mode": "secrets", "rules": [EMPLOYEE]}) as answer:
        assert answer.status == 200
    async with client.patch("/api/redaction", json={"store_content": False}) as answer:
        assert await answer.json() == {
            "redaction": {
                "mode": "secrets",
                "default_mode": "all",
                "store_content": False,
                "rules": [EMPLOYEE],
            }
        }
    async with client.get("/api/redaction") as answer:
        assert (await answer.json())["redaction"]["rules"] == [EMPLOYEE]
    async with client.patch("/api/redaction", json={"mode": None, "rules": []}) as answer:
        assert answer.status == 200
    assert desk.kept == Wishes(store_content=False)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"mode": "some"}, "mode"),
        ({"mode": 1}, "mode"),
        ({"store_content": "no"}, "store_content"),
        ({"rules": {}}, "rules"),
        ({"rules": ["x"]}, "rules[0]"),
        ({"rules": [{"name": "x"}]}, "rules[0]"),
        ({"rules": [EMPLOYEE, {"name": "two words", "pattern": "x"}]}, "rules[1].name"),
        ({"rules": [EMPLOYEE, {"name": "other", "pattern": "("}]}, "rules[1].pattern"),
        ({"rules": [EMPLOYEE, EMPLOYEE]}, "rules[1].name"),
        ({"rules": [{"name": "r" + "x" * n, "pattern": "y"} for n in range(MAX_RULES + 1)]}, "rules[20].pattern"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_cannot_be_used_is_refused_by_its_field_and_changes_nothing(
    client: Client, desk: MemoryRedaction, body: object, param: str
) -> None:
    async with client.patch("/api/redaction", json=body) as answer:
        assert answer.status == 422
        assert (await answer.json())["error"]["param"] == param
    assert desk.kept == Wishes()


async def test_a_text_is_tried_with_rules_that_are_not_saved_and_is_kept_nowhere(
    client: Client, desk: MemoryRedaction
) -> None:
    async with client.post("/api/redaction/try", json={"text": TEXT, "rules": [EMPLOYEE]}) as answer:
        tried = await answer.json()
    assert tried["redacted"] == {"custom.employee": 1, "email": 1}
    assert tried["text"].startswith("[custom.employee_")
    assert desk.kept == Wishes()
    async with client.post("/api/redaction/try", json={"text": TEXT, "mode": "off"}) as answer:
        assert await answer.json() == {"text": TEXT, "redacted": {}}
    for body, param in (({}, "text"), ({"text": "x" * (MAX_TRIED_CHARACTERS + 1)}, "text")):
        async with client.post("/api/redaction/try", json=body) as answer:
            assert answer.status == 422
            assert (await answer.json())["error"]["param"] == param


async def test_the_page_saves_tries_and_says_what_is_wrong(client: Client, desk: MemoryRedaction) -> None:
    form = {"mode": "all", "no_content": "true", "rules": "employee EMP-[0-9]{6}\n\n", "text": TEXT}
    async with client.post("/settings/redaction", data={**form, "try": "true"}) as answer:
        shown = await answer.text()
    assert "[custom.employee_" in shown
    assert "1 employee value, 1 e-mail address redacted" in shown
    assert desk.kept == Wishes(), "trying saves nothing"
    async with client.post("/settings/redaction", data=form) as answer:
        assert "Saved." in await answer.text()
    assert desk.kept == Wishes(RedactionMode.ALL, (OwnRule("employee", "EMP-[0-9]{6}"),), store_content=False)
    async with client.post("/settings/redaction", data={**form, "rules": "employee ("}) as answer:
        refused = await answer.text()
        assert answer.status == 422
    assert "Rule 1 cannot be used" in refused
    assert "employee (</textarea>" in refused, "what was written is not lost"


async def test_captured_or_tried_text_is_text_on_the_page(client: Client) -> None:
    async with client.post("/settings/redaction", data={"text": "<script>x</script>", "try": "true"}) as answer:
        shown = await answer.text()
    assert "<script>x" not in shown
    assert "&lt;script&gt;x" in shown


async def test_a_reader_sees_it_and_changes_nothing(
    client: Client, desk: MemoryRedaction, scopes: set[Scope]
) -> None:
    scopes &= {Scope.READ}
    async with client.get("/settings/redaction") as answer:
        assert "needs the scope admin" in await answer.text()
    for method, path in (
        ("PATCH", "/api/redaction"),
        ("POST", "/api/redaction/try"),
        ("POST", "/settings/redaction"),
    ):
        async with client.request(method, path, json={}) as answer:
            assert answer.status == 403
    assert desk.kept == Wishes()


async def test_what_is_looked_for_in_a_list_is_looked_for_as_it_is_stored(
    client: Client, reading: MemoryReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    found = reading.list_runs

    async def list_runs(project_id: str, query: object) -> object:
        asked.append(query)
        return await found(project_id, query)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "list_runs", list_runs)
    for path in ("/api/agent-runs", "/runs"):
        async with client.get(path, params={"user": "bob@example.com", "q": "b", "agent": "a"}) as answer:
            assert answer.status == 200
        query = asked[0]
        assert (query.user, query.q, query.agent) == ("stored bob@example.com", "stored b", "stored a")  # type: ignore[attr-defined]
        assert query.session is None  # type: ignore[attr-defined]
        asked.clear()


async def test_a_run_says_what_was_redacted_in_it_and_each_step_what_in_its_call(
    desk: MemoryRedaction, aiohttp_client: Callable[[web.Application], Awaitable[Client]]
) -> None:
    refund = refund_run()
    calls = [make_call(n) for n in range(1, 4)]
    reading = MemoryReading([refund], [replace(calls[0], redacted=(("email", 2),)), *calls[1:]])

    async def health() -> Health:
        return Health()

    client = await aiohttp_client(build_app(reading, settings=Settings(), health=health, redaction=desk))
    async with client.get(f"/api/agent-runs/{refund.run.run_id}/debug") as answer:
        debug = (await answer.json())["debug"]
    assert debug["summary"]["redacted"] == {"email": 2}
    assert debug["summary"]["redaction_note"] == "2 e-mail addresses redacted"
    of_calls = {step["call_id"]: step["redacted"] for step in debug["steps"]}
    assert of_calls[str(calls[0].row.call_id)] == {"email": 2}
    assert of_calls[str(calls[1].row.call_id)] == {}
    async with client.get(f"/runs/{refund.run.run_id}") as answer:
        assert "2 e-mail addresses redacted before it was stored" in await answer.text()


async def test_a_run_is_shown_without_that_while_only_the_store_of_calls_is_away(
    client: Client, reading: MemoryReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> object:
        raise StoreUnavailable("ClickHouse is away")

    monkeypatch.setattr(reading, "get_redacted", away)
    run_id = refund_run().run.run_id
    async with client.get(f"/api/agent-runs/{run_id}/debug") as answer:
        debug = (await answer.json())["debug"]
    assert debug["summary"]["redacted"] is None
    assert {step["redacted"] for step in debug["steps"]} == {None}
