"""Real clients, unchanged but for their base URL: each is one run, and the upstream sees it as it is."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.e2e.clients.catalogue import CLIENTS, Client
from tests.e2e.clients.environments import run_program
from tests.e2e.stack import Stack
from tests.fake_openai import FakeOpenAI, Received

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]  # the first run installs the client

BY_NAME = [pytest.param(client, id=client.name) for client in CLIENTS]

HOP_BY_HOP = {"connection", "host", "keep-alive", "te", "transfer-encoding", "upgrade", "proxy-connection"}
VARYING = {"content-length"}  # ids of another length may stand in the body


def _sent(request: Received) -> list[tuple[str, str]]:
    """What the client itself sent, as far as two runs of it can be compared."""
    fields = [(name.lower(), value) for name, value in request.headers if name.lower() not in HOP_BY_HOP]
    return sorted((name, "…" if name in VARYING else value) for name, value in fields)


@pytest.mark.parametrize("client", BY_NAME)
def test_a_client_that_only_changes_its_base_url_is_one_run_with_the_right_steps(
    client: Client, stack: Stack
) -> None:
    command = client.command()
    before = stack.run_ids()

    printed = run_program(command, client.environment(stack.base_url))

    assert printed == client.prints
    assert [request.target for request in stack.fake.requests] == [client.path] * client.calls
    (run,) = stack.wait_for_steps(before, len(client.steps))
    debug = stack.debug(run["run_id"])
    assert [(step["type"], step["tool"]) for step in debug["steps"]] == list(client.steps)
    assert debug["summary"]["status"] == "completed"
    model_steps = [step for step in debug["steps"] if step["type"] in {"decision", "model_response"}]
    assert len(model_steps) == client.calls
    assert all(step["token_cost"] > 0 for step in model_steps)
    assert all(step["call_id"] for step in model_steps)
    assert Decimal(str(debug["summary"]["cost"]["total_cost_usd"])) > 0
    assert debug["summary"]["cost"]["unpriced_calls"] == 0


@pytest.mark.parametrize("client", BY_NAME)
def test_the_upstream_gets_the_headers_the_client_sent_and_no_others(client: Client, stack: Stack) -> None:
    command = client.command()
    with FakeOpenAI() as direct:
        run_program(command, client.environment(direct.url))

    run_program(command, client.environment(stack.base_url))

    assert [_sent(request) for request in stack.fake.requests] == [_sent(request) for request in direct.requests]


def test_the_tools_of_a_run_hold_what_the_client_answered_for_them(stack: Stack) -> None:
    client = next(client for client in CLIENTS if client.name == "openai_chat_stream")
    before = stack.run_ids()

    run_program(client.command(), client.environment(stack.base_url))

    (run,) = stack.wait_for_steps(before, len(client.steps))
    steps = stack.debug(run["run_id"])["steps"]
    tools = [(step["tool_args"], step["tool_output_summary"]) for step in steps if step["type"] == "tool_call"]
    assert tools == [
        ({"city": "Oslo"}, "Oslo: sunny, 19 degrees"),
        ({"city": "Bergen"}, "Bergen: sunny, 19 degrees"),
        ({"city": "Oslo"}, "Oslo: jazz festival on Sunday"),
    ]
    assert run["agent_name"] == "trip-guide"
    assert run["title"] == "Plan a weekend in Oslo for me."
