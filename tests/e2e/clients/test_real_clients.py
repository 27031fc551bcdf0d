"""Real clients, unchanged but for their base URL: each is one run, and the upstream sees it as it is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from tests.e2e.clients.catalogue import CLIENTS, Client
from tests.e2e.clients.environments import run_program
from tests.e2e.stack import Stack
from tests.fake_openai import FakeOpenAI, Received

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]  # the first run installs the client

HOP_BY_HOP = {"connection", "host", "keep-alive", "te", "transfer-encoding", "upgrade", "proxy-connection"}
VARYING = {"content-length"}  # ids of another length may stand in the body


@dataclass(frozen=True)
class Watched:
    """One program's way through the product: what it printed, what the upstream got, what was stored."""

    client: Client
    printed: str
    received: list[Received]
    runs: list[dict[str, Any]]
    debug: dict[str, Any]  # of the first of the runs


@pytest.fixture(scope="module", params=CLIENTS, ids=lambda client: client.name)
def watched(request: pytest.FixtureRequest, running_stack: Stack) -> Watched:
    """Each client goes through the proxy once, for all tests."""
    client: Client = request.param
    command = client.command()
    running_stack.fake.reset()
    before = running_stack.run_ids()
    printed = run_program(command, client.environment(running_stack.base_url))
    runs = running_stack.wait_for_steps(before, len(client.steps))
    debug = running_stack.debug(runs[0]["run_id"])
    return Watched(client, printed, list(running_stack.fake.requests), runs, debug)


def test_it_works_as_without_the_proxy(watched: Watched) -> None:
    assert watched.printed == watched.client.prints
    assert [request.target for request in watched.received] == [watched.client.path] * watched.client.calls


def test_it_is_one_run_with_the_right_steps_in_order(watched: Watched) -> None:
    assert len(watched.runs) == 1
    assert [(step["type"], step["tool"]) for step in watched.debug["steps"]] == list(watched.client.steps)
    summary = watched.debug["summary"]
    assert summary["status"] == "completed"
    assert (summary["agent_name"], summary["title"]) == watched.client.named


def test_every_model_step_has_its_tokens_and_the_run_its_cost(watched: Watched) -> None:
    steps = [step for step in watched.debug["steps"] if step["type"] in {"decision", "model_response"}]

    assert len(steps) == watched.client.calls
    assert all(step["token_cost"] > 0 for step in steps)
    assert len({step["call_id"] for step in steps}) == watched.client.calls
    cost = watched.debug["summary"]["cost"]
    assert cost["unpriced_calls"] == 0
    assert Decimal(str(cost["total_cost_usd"])) > 0


def test_the_tools_hold_what_the_client_answered_for_them(watched: Watched) -> None:
    tools = [step for step in watched.debug["steps"] if step["type"] == "tool_call"]

    assert [(step["tool_args"], step["tool_output_summary"]) for step in tools] == list(watched.client.tools)


def test_the_upstream_gets_the_headers_the_client_sent_and_no_others(watched: Watched) -> None:
    with FakeOpenAI() as direct:
        run_program(watched.client.command(), watched.client.environment(direct.url))

    assert [_sent(request) for request in watched.received] == [_sent(request) for request in direct.requests]


def test_two_that_do_the_same_at_the_same_time_are_two_runs(stack: Stack) -> None:
    client = CLIENTS[0]
    command, environ = client.command(), client.environment(stack.base_url)
    before = stack.run_ids()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: run_program(command, environ), range(2)))

    runs = stack.wait_for_steps(before, 2 * len(client.steps))
    assert [run["total_steps"] for run in runs] == [len(client.steps)] * 2


def _sent(request: Received) -> list[tuple[str, str]]:
    """What the client itself sent, as far as two runs of it can be compared."""
    fields = [(name.lower(), value) for name, value in request.headers if name.lower() not in HOP_BY_HOP]
    return sorted((name, "…" if name in VARYING else value) for name, value in fields)
