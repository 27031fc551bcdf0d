"""A request of any of the three dialects, as the model of the recordings reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from watchllm_proxy.demo.json_access import JsonObject, as_list, as_object, as_text


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    parameters: JsonObject


@dataclass(frozen=True, slots=True)
class Said:
    """One message: `calls` are the names of the tools that an assistant's asks for."""

    role: str  # system | user | assistant | tool
    text: str
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """`task` is the last thing a person (or a program in their place) said; `rounds` counts the answers since."""

    system: str
    task: str
    rounds: int
    everything: str  # all texts, tool arguments included, without the system prompt
    used: frozenset[str]
    used_since_task: frozenset[str]
    is_first_task: bool
    tools: tuple[Tool, ...]
    may_call_in_parallel: bool
    is_deterministic: bool

    @property
    def template_observations(self) -> int:
        """How often a text protocol's own instructions, where they are a user message, say "Observation:"."""
        return self.everything.count("Observation: the result")


def read_chat(body: JsonObject) -> Seen:
    messages = [as_object(message) for message in as_list(body.get("messages"))]
    said = [Said(_role(m), text_of(m.get("content")), _chat_calls(m)) for m in messages]
    functions = [as_object(as_object(tool).get("function")) for tool in as_list(body.get("tools"))]
    return _seen(body, said, _tools(functions, "parameters"), json.dumps(_without_system(messages)))


def read_messages(body: JsonObject) -> Seen:
    """Tool results are messages of the user: they are told apart by their blocks."""
    messages = [as_object(message) for message in as_list(body.get("messages"))]
    said = [Said("system", text_of(body.get("system")))]
    for message in messages:
        blocks = [as_object(block) for block in as_list(message.get("content"))]
        calls = tuple(as_text(block.get("name")) for block in blocks if block.get("type") == "tool_use")
        is_result = any(block.get("type") == "tool_result" for block in blocks)
        said.append(Said("tool" if is_result else _role(message), text_of(message.get("content")), calls))
    tools = [as_object(tool) for tool in as_list(body.get("tools"))]
    return _seen(body, said, _tools(tools, "input_schema"), json.dumps(messages))


def read_responses(body: JsonObject, items: Sequence[JsonObject]) -> Seen:
    """`items`: what the request continues, and its own input."""
    said = [Said("system", as_text(body.get("instructions")))]
    for item in items:
        match item.get("type", "message"):
            case "message":
                said.append(Said(_role(item), text_of(item.get("content"))))
            case "function_call":
                said.append(Said("assistant", "", (as_text(item.get("name")),)))
            case "function_call_output":
                said.append(Said("tool", text_of(item.get("output"))))
            case _:
                pass  # reasoning and the like say nothing
    tools = [as_object(tool) for tool in as_list(body.get("tools"))]
    return _seen(body, said, _tools(tools, "parameters"), json.dumps(list(items)))


def text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(as_text(as_object(part).get("text")) for part in as_list(content))


def _seen(body: JsonObject, said: Sequence[Said], tools: tuple[Tool, ...], everything: str) -> Seen:
    spoken = [one for one in said if one.role != "system"]
    asked = [index for index, one in enumerate(spoken) if one.role == "user"]
    last = asked[-1] if asked else -1
    after = spoken[last + 1 :]
    return Seen(
        system="\n".join(one.text for one in said if one.role == "system"),
        task=spoken[last].text if asked else "",
        rounds=_rounds(after),
        everything=everything,
        used=_calls(spoken),
        used_since_task=_calls(after),
        is_first_task=not any(one.role == "assistant" for one in spoken[: max(last, 0)]),
        tools=tools,
        may_call_in_parallel=body.get("parallel_tool_calls") is not False,
        is_deterministic=body.get("temperature") == 0,
    )


def _rounds(said: Sequence[Said]) -> int:
    """Answers in a row (a text and its calls are several items) are one round, with one or two calls. Some
    clients merge all rounds into one message: then its calls tell."""
    return sum(
        max(1, len(one.calls) - 1)
        for index, one in enumerate(said)
        if one.role == "assistant" and (index == 0 or said[index - 1].role != "assistant")
    )


def _calls(said: Iterable[Said]) -> frozenset[str]:
    return frozenset(name for one in said for name in one.calls)


def _role(message: JsonObject) -> str:
    role = as_text(message.get("role"))
    return "system" if role == "developer" else role


def _chat_calls(message: JsonObject) -> tuple[str, ...]:
    calls = [as_object(as_object(call).get("function")) for call in as_list(message.get("tool_calls"))]
    return tuple(as_text(call.get("name")) for call in calls)


def _without_system(messages: Iterable[JsonObject]) -> list[JsonObject]:
    return [message for message in messages if _role(message) != "system"]


def _tools(declared: Iterable[JsonObject], parameters: str) -> tuple[Tool, ...]:
    return tuple(
        Tool(as_text(tool["name"]), as_object(tool.get(parameters))) for tool in declared if tool.get("name")
    )
