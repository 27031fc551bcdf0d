"""What a project pays for models, through the API and the page, on a real Postgres."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from jsonschema import Draft202012Validator

from tests.integration.console.conftest import Client, Visited
from watchllm_proxy.store import prices

ACME = {"X-Project": "acme"}
READER = {"X-Scopes": "read"}
CHEAP = {"model": "My-Llama", "prices": {"input": "0.10", "output": 0.4}}


@pytest.fixture
async def client(visited: Visited) -> Client:
    return await visited()


async def ask(client: Client, method: str, path: str, status: int = 200, **kwargs: Any) -> dict[str, Any]:
    """The answer, held against what /openapi.json says of it."""
    answer = await client.request(method, path, **kwargs)
    body: dict[str, Any] = await answer.json()
    assert answer.status == status, body
    document = await (await client.get("/openapi.json")).json()
    responses = document["paths"][path.partition("?")[0]][method]["responses"]
    described = responses[str(status)]["content"]["application/json"]["schema"]
    Draft202012Validator({**described, "components": document["components"]}).validate(body)
    return body


async def test_a_price_is_set_shown_set_anew_and_removed(client: Client) -> None:
    made = (await ask(client, "put", "/api/prices", json=CHEAP))["price"]
    assert (made["model"], made["prices"]) == ("my-llama", {"input": "0.10", "output": "0.4"})
    await ask(client, "put", "/api/prices", json={**CHEAP, "prices": {"call": "0.01"}})
    (one,) = (await ask(client, "get", "/api/prices"))["prices"]
    assert one["prices"] == {"call": "0.01"}, "in place of all that was set before"
    await ask(client, "delete", "/api/prices?model=MY-LLAMA")
    assert (await ask(client, "get", "/api/prices"))["prices"] == []
    await ask(client, "delete", "/api/prices?model=my-llama", 404)


async def test_a_fetched_list_is_told(client: Client, pool: asyncpg.Pool) -> None:
    await prices.save_list(pool, "openrouter", {"a/b": {"input": "1", "output": "2"}}, "models.json")
    (one,) = (await ask(client, "get", "/api/prices"))["lists"]
    assert (one["provider"], one["models"], one["source"]) == ("openrouter", 1, "models.json")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ([], 400, None),
        ({}, 422, "model"),
        ({"model": "", "prices": {"input": 1}}, 422, "model"),
        ({"model": "x" * 201, "prices": {"input": 1}}, 422, "model"),
        ({"model": "a\x00b", "prices": {"input": 1}}, 422, "model"),
        ({"model": "m"}, 422, "prices"),
        ({"model": "m", "prices": []}, 422, "prices"),
        ({"model": "m", "prices": {"inptu": 1}}, 422, "prices"),
        ({"model": "m", "prices": {"input": -1}}, 422, "prices"),
        ({"model": "m", "prices": {"input": True}}, 422, "prices"),
        ({**CHEAP, "more": 1}, 422, "more"),
    ],
)
async def test_what_is_no_price_is_refused_and_the_field_named(
    client: Client, body: object, status: int, param: str | None
) -> None:
    found = await ask(client, "put", "/api/prices", status, json=body)
    assert found["error"]["param"] == param
    assert (await ask(client, "get", "/api/prices"))["prices"] == []


async def test_projects_see_and_change_their_own(client: Client) -> None:
    await ask(client, "put", "/api/prices", json=CHEAP)
    assert (await ask(client, "get", "/api/prices", headers=ACME))["prices"] == []
    await ask(client, "delete", "/api/prices?model=my-llama", 404, headers=ACME)
    assert len((await ask(client, "get", "/api/prices"))["prices"]) == 1


async def test_who_may_read_may_look_and_not_change(client: Client) -> None:
    await ask(client, "get", "/api/prices", headers=READER)
    await ask(client, "put", "/api/prices", 403, json=CHEAP, headers=READER)
    await ask(client, "delete", "/api/prices?model=m", 403, headers=READER)
    page = await client.get("/settings/prices", headers=READER)
    assert "needs the scope admin" in await page.text()


async def test_the_page_sets_and_removes(client: Client) -> None:
    form = {"model": "My-Llama", "input": "0.1", "output": " 0.4 ", "reasoning": ""}
    async with client.post("/settings/prices", data=form) as answer:
        text = await answer.text()
        assert answer.status == 200
        assert "my-llama costs this from the next call on." in text
        assert "input $0.1 · output $0.4" in text
    async with client.post("/settings/prices", data={"remove": "my-llama"}) as answer:
        assert "None set: the lists hold." in await answer.text()


async def test_the_page_says_what_is_wrong_and_keeps_what_was_written(client: Client) -> None:
    async with client.post("/settings/prices", data={"model": "m", "input": "<b>dear"}) as answer:
        text = await answer.text()
        assert answer.status == 422
    assert "input is a number" in text
    assert "&lt;b&gt;dear" in text
    assert "<b>dear" not in text
