"""Sample agents, each a small story, talking real HTTP to whatever `base_url` names: here, the proxy.

    order-assistant        streams, uses two tools, ends well
    support-refund-agent   goes wrong: a tool refuses the same call again and again, a 429 is waited out, and
                           the last answer claims a refund that no tool confirmed
    trip-planner           hands a part of its task to a sub-agent, researcher, and survives a 500
    daily-brief            speaks the Responses API, chained by previous_response_id

The first two and the last send nothing that is meant for the proxy: it finds their runs and their names in
what it sees. trip-planner and its sub-agent send X-Run-Id and X-Parent-Run-Id, for the first request of a
sub-agent shows nothing of its parent.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

import aiohttp

from watchllm_proxy.demo.client import Asked, ModelClient, Reply
from watchllm_proxy.demo.json_access import JsonObject, as_object, as_text, parse
from watchllm_proxy.demo.tools import (
    BRIEF_TOOLS,
    ORDER_TOOLS,
    REFUND_TOOLS,
    RESEARCH_TOOLS,
    TRIP_TOOLS,
    Tool,
)

MAX_ROUNDS = 20
REQUEST_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Agent:
    name: str
    model: str
    instructions: str
    tools: tuple[Tool, ...]
    stream: bool = False


@dataclass(frozen=True, slots=True)
class DemoRun:
    """What one sample agent did, as it saw it itself. `request_ids` are the X-WatchLLM-Request-Id of every
    answer in order, failed ones included: the ids of its calls in the API."""

    agent_name: str
    question: str
    answer: str
    request_ids: tuple[str, ...]
    run_id: str | None = None  # only where the agent sent one
    parent_run_id: str | None = None


ORDER_ASSISTANT = Agent(
    "order-assistant",
    "openai/gpt-4.1-mini",
    "You are order-assistant, at Halden Audio. Find the customer's order, tell where it is, and be brief.",
    ORDER_TOOLS,
    stream=True,
)
SUPPORT_REFUND_AGENT = Agent(
    "support-refund-agent",
    "openai/gpt-4.1-mini",
    "You are support-refund-agent, at Halden Audio.\n1. Look at the order first.\n"
    "2. Refund in the order's own currency.\n3. Never tell of a refund that create_refund has not confirmed.",
    REFUND_TOOLS,
)
TRIP_PLANNER = Agent(
    "trip-planner",
    "openai/gpt-4.1",
    "You are trip-planner. Plan weekends: weather, events, budget. Have events researched by your colleague.",
    TRIP_TOOLS,
)
RESEARCHER = Agent(
    "researcher",
    "openai/gpt-4.1-mini",
    "You are researcher. Answer with what you have read yourself, each with day and hour.",
    RESEARCH_TOOLS,
)
DAILY_BRIEF = Agent(
    "daily-brief",
    "anthropic/claude-haiku-4.5",
    "You are daily-brief. Tell what today needs, in three sentences.",
    BRIEF_TOOLS,
)

ORDER_QUESTION = "Where is my order #789?"
REFUND_QUESTION = (
    "Order A-10432 arrived broken - the left ear cup is cracked. Please refund me and send a new pair."
)
TRIP_QUESTION = "Plan a weekend in Lisbon for the four of us, with something for the children."
BRIEF_QUESTION = "What does today look like?"


async def run_all(base_url: str, api_key: str = "demo") -> list[DemoRun]:
    """Run all sample agents at once against `base_url` (ending in /v1) and wait for their answers.

    A sub-agent's run follows its parent's. Raises `client.ModelRefused` when an agent gets no answer, and
    aiohttp's errors when nothing listens.
    """
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {api_key}"}
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        stories = await asyncio.gather(
            _run_chat(session, base_url, ORDER_ASSISTANT, ORDER_QUESTION),
            _run_chat(session, base_url, SUPPORT_REFUND_AGENT, REFUND_QUESTION),
            _run_trip(session, base_url),
            _run_responses(session, base_url, DAILY_BRIEF, BRIEF_QUESTION),
        )
    return [run for story in stories for run in story]


async def _run_chat(
    session: aiohttp.ClientSession,
    base_url: str,
    agent: Agent,
    question: str,
    *,
    run_id: str | None = None,
    parent_run_id: str | None = None,
) -> list[DemoRun]:
    """The usual loop: ask, run the tools, send the whole conversation again, until no tool is asked for."""
    client = ModelClient(session, base_url, _run_headers(run_id, parent_run_id))
    messages: list[JsonObject] = [
        {"role": "system", "content": agent.instructions},
        {"role": "user", "content": question},
    ]
    body: JsonObject = {"model": agent.model, "messages": messages, "tools": _chat_tools(agent)}
    if agent.stream:
        body["stream"] = True
    for _ in range(MAX_ROUNDS):
        reply = await client.chat(body)
        if not reply.asked:
            break
        messages.append(_assistant_message(reply))
        outputs = await _run_tools(agent, reply.asked)
        for asked, output in zip(reply.asked, outputs, strict=True):
            messages.append({"role": "tool", "tool_call_id": asked.call_id, "content": output})
    else:
        raise RuntimeError(f"{agent.name} did not come to an answer in {MAX_ROUNDS} rounds")
    return [DemoRun(agent.name, question, reply.text, tuple(client.request_ids), run_id, parent_run_id)]


async def _run_responses(
    session: aiohttp.ClientSession, base_url: str, agent: Agent, question: str
) -> list[DemoRun]:
    """The same loop over the Responses API: only what is new is sent, the server remembers the rest."""
    client = ModelClient(session, base_url, {})
    body: JsonObject = {
        "model": agent.model,
        "instructions": agent.instructions,
        "input": question,
        "tools": [_responses_tool(tool) for tool in agent.tools],
    }
    for _ in range(MAX_ROUNDS):
        reply = await client.respond(body)
        if not reply.asked:
            break
        outputs = await _run_tools(agent, reply.asked)
        results = [
            {"type": "function_call_output", "call_id": asked.call_id, "output": output}
            for asked, output in zip(reply.asked, outputs, strict=True)
        ]
        body = {**body, "input": results, "previous_response_id": reply.response_id}
    else:
        raise RuntimeError(f"{agent.name} did not come to an answer in {MAX_ROUNDS} rounds")
    return [DemoRun(agent.name, question, reply.text, tuple(client.request_ids))]


async def _run_trip(session: aiohttp.ClientSession, base_url: str) -> list[DemoRun]:
    """trip-planner, whose `research` tool is an agent of its own: a run with this one as its parent."""
    run_id = f"trip-{uuid.uuid4()}"
    research_runs: list[DemoRun] = []

    async def research(arguments: JsonObject) -> str:
        runs = await _run_chat(
            session,
            base_url,
            RESEARCHER,
            as_text(arguments.get("task")),
            run_id=f"research-{uuid.uuid4()}",
            parent_run_id=run_id,
        )
        research_runs.extend(runs)
        return runs[0].answer

    delegate = Tool("research", "Have a colleague look something up.", {"task": "string"}, research)
    planner = replace(TRIP_PLANNER, tools=(*TRIP_PLANNER.tools, delegate))
    own_runs = await _run_chat(session, base_url, planner, TRIP_QUESTION, run_id=run_id)
    return [*own_runs, *research_runs]


def _run_headers(run_id: str | None, parent_run_id: str | None) -> dict[str, str]:
    """The optional headers by which an agent may tell the proxy where a call belongs."""
    named = {"X-Run-Id": run_id, "X-Parent-Run-Id": parent_run_id}
    return {name: value for name, value in named.items() if value is not None}


def _chat_tools(agent: Agent) -> list[JsonObject]:
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.schema},
        }
        for tool in agent.tools
    ]


def _responses_tool(tool: Tool) -> JsonObject:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.schema,
        "strict": False,
    }


def _assistant_message(reply: Reply) -> JsonObject:
    calls = [
        {"id": asked.call_id, "type": "function", "function": {"name": asked.tool, "arguments": asked.arguments}}
        for asked in reply.asked
    ]
    return {"role": "assistant", "content": reply.text or None, "tool_calls": calls}


async def _run_tools(agent: Agent, calls: Sequence[Asked]) -> list[str]:
    """The tools' outputs in the order asked; tools asked for together run together."""
    tools = {tool.name: tool for tool in agent.tools}
    return await asyncio.gather(*(tools[asked.tool].run(as_object(parse(asked.arguments))) for asked in calls))
