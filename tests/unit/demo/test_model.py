"""The scripted model over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from watchllm_proxy.demo.agents import run_all
from watchllm_proxy.demo.model import Pace, ScriptedModel
from watchllm_proxy.demo.script import DAILY_BRIEF, ORDER_ASSISTANT, RATE_LIMITED, SUPPORT_REFUND_AGENT
from watchllm_proxy.enrich.price_lists import read_openrouter_models, written_prices

SYSTEM = {"role": "system", "content": "You are order-assistant."}
ASK = {"model": "openai/gpt-4.1-mini", "messages": [SYSTEM, {"role": "user", "content": "Where is it?"}]}


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    scripted = ScriptedModel(pace=Pace(first_token_s=0.0, between_frames_s=0.0))
    await scripted.start()
    yield scripted
    await scripted.stop()


@pytest.fixture
async def http(model: ScriptedModel) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"{model.base_url}/") as session:
        yield session


async def _post(http: aiohttp.ClientSession, path: str, body: object) -> tuple[int, Any]:
    async with http.post(path, json=body) as response:
        return response.status, json.loads(await response.read())


async def test_an_answer_has_usage_as_openrouter_gives_it(http: aiohttp.ClientSession) -> None:
    _, answer = await _post(http, "chat/completions", ASK)

    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    price = usage["prompt_tokens"] * 0.4e-6 + usage["completion_tokens"] * 1.6e-6
    assert usage["cost"] == pytest.approx(price)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}


async def test_a_model_whose_price_is_not_known_tells_no_cost(http: aiohttp.ClientSession) -> None:
    _, answer = await _post(http, "chat/completions", {**ASK, "model": "gpt-4o-mini"})

    assert "cost" not in answer["usage"]


async def test_ids_are_new_in_every_answer_and_words_are_not(http: aiohttp.ClientSession) -> None:
    _, first = await _post(http, "chat/completions", ASK)
    _, second = await _post(http, "chat/completions", ASK)

    one, two = (answer["choices"][0]["message"] for answer in (first, second))
    assert first["id"] != second["id"]
    assert one["tool_calls"][0]["id"] != two["tool_calls"][0]["id"]
    assert one["content"] == two["content"] == ORDER_ASSISTANT.turns[0].text


async def test_a_streamed_answer_holds_what_the_whole_one_holds(http: aiohttp.ClientSession) -> None:
    _, whole = await _post(http, "chat/completions", ASK)
    async with http.post("chat/completions", json={**ASK, "stream": True}) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        text = (await response.read()).decode()

    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    pieces = [piece for delta in deltas for piece in delta.get("tool_calls", [])]
    message = whole["choices"][0]["message"]
    assert "".join(delta.get("content") or "" for delta in deltas) == message["content"]
    arguments = "".join(piece["function"]["arguments"] for piece in pieces)
    assert arguments == message["tool_calls"][0]["function"]["arguments"]
    assert chunks[-1]["usage"] == whole["usage"]


async def test_the_same_request_again_after_the_scripted_failure_is_answered(
    http: aiohttp.ClientSession,
) -> None:
    answered = [{"role": "assistant", "content": "…"}, {"role": "user", "content": "and?"}]
    asked = [{"role": "system", "content": SUPPORT_REFUND_AGENT.cue}, {"role": "user", "content": "Hm?"}]
    body = {"model": "m", "messages": [*asked, *answered * 5]}

    async with http.post("chat/completions", json=body) as refused:
        error = (await refused.json())["error"]
        assert refused.status == 429
        assert refused.headers["Retry-After"] == "1"
        assert (error["type"], error["code"]) == (RATE_LIMITED.type, RATE_LIMITED.code)
    status, answer = await _post(http, "chat/completions", body)
    assert status == 200
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_fx_rate"


async def test_a_response_goes_on_where_the_previous_one_ended(http: aiohttp.ClientSession) -> None:
    ask = {"model": "m", "instructions": DAILY_BRIEF.cue, "input": "What does today look like?"}
    _, first = await _post(http, "responses", ask)
    calls = [item for item in first["output"] if item["type"] == "function_call"]
    results = [{"type": "function_call_output", "call_id": call["call_id"], "output": "-"} for call in calls]
    again = {**ask, "input": results, "previous_response_id": first["id"]}

    _, second = await _post(http, "responses", again)

    assert [call["name"] for call in calls] == ["list_meetings", "list_unread"]
    assert second["previous_response_id"] == first["id"]
    assert second["output"][0]["content"][0]["text"] == DAILY_BRIEF.turns[-1].text


async def test_an_unknown_previous_response_is_refused(http: aiohttp.ClientSession) -> None:
    status, answer = await _post(http, "responses", {"input": "Hm?", "previous_response_id": "resp_gone"})

    assert (status, answer["error"]["code"]) == (400, "previous_response_not_found")


async def test_a_body_that_is_no_json_is_answered_all_the_same(http: aiohttp.ClientSession) -> None:
    async with http.post("chat/completions", data=b"{not json") as response:
        assert response.status == 200


async def test_embeddings_depend_on_the_text_alone(http: aiohttp.ClientSession) -> None:
    _, answer = await _post(http, "embeddings", {"model": "m", "input": ["a", "b", "a"]})

    one, two, three = (item["embedding"] for item in answer["data"])
    assert one == three != two


async def test_the_sample_agents_come_to_their_ends(model: ScriptedModel) -> None:
    runs = await run_all(model.base_url)

    assert [(run.agent_name, len(run.request_ids)) for run in runs] == [
        ("order-assistant", 3),
        ("support-refund-agent", 10),
        ("trip-planner", 4),
        ("researcher", 3),
        ("daily-brief", 2),
    ]
    by_name = {run.agent_name: run for run in runs}
    assert "I have refunded $84.50" in by_name["support-refund-agent"].answer
    assert by_name["researcher"].parent_run_id == by_name["trip-planner"].run_id
    assert by_name["order-assistant"].run_id is None


@pytest.mark.parametrize("streams", [False, True])
async def test_what_an_answer_cost_is_told_afterwards_under_the_id_in_its_head(
    http: aiohttp.ClientSession, streams: bool
) -> None:
    async with http.post("chat/completions", json={**ASK, "stream": streams}) as response:
        generation_id = response.headers["X-Generation-Id"]  # its body is not read
    async with http.get("generation", params={"id": generation_id}) as response:
        told = (await response.json())["data"]
    _, whole = await _post(http, "chat/completions", ASK)
    assert told["total_cost"] == whole["usage"]["cost"]
    assert told["native_tokens_prompt"] == whole["usage"]["prompt_tokens"]
    async with http.get("generation", params={"id": "gen-nobody"}) as response:
        assert response.status == 404


async def test_its_list_of_models_tells_prices_as_openrouters_does(http: aiohttp.ClientSession) -> None:
    async with http.get("models") as response:
        found = read_openrouter_models(await response.json())
    assert written_prices(found["openai/gpt-4.1-mini"]) == {"input": "0.4", "output": "1.6", "cache_read": "0.1"}
