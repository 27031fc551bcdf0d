"""The loop that most home-made agents have, over chat completions."""

import asyncio
import inspect
import json

from rivers import MODEL, TOOLS, chat_tools


async def chat_loop(client, messages, tools=None, functions=TOOLS, is_stream=False, **options):
    """Until an answer asks for no tool; returns its text. `messages` grows."""
    while True:
        said = await answer(client, messages, tools or chat_tools(), is_stream, **options)
        messages.append(said)
        if not said.get("tool_calls"):
            return said["content"]
        messages += await outputs(said, functions)


async def answer(client, messages, tools, is_stream=False, **options):
    """The model's next message, as it goes back into the history."""
    asked = {"model": MODEL, "messages": messages, "tools": tools, **options}
    if is_stream:
        return await put_together(await client.chat.completions.create(stream=True, **asked))
    done = await client.chat.completions.create(**asked)
    return done.choices[0].message.model_dump(exclude_none=True)


async def put_together(stream):
    """One message out of its deltas."""
    text, calls = "", {}
    async for chunk in stream:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for delta in choice.delta.tool_calls or []:
                call = calls.setdefault(delta.index, {"name": "", "arguments": ""})
                call["id"] = delta.id or call["id"]
                call["name"] += delta.function.name or ""
                call["arguments"] += delta.function.arguments or ""
    asked = [
        {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
        for c in calls.values()
    ]
    return {"role": "assistant", "content": text or None, **({"tool_calls": asked} if asked else {})}


async def outputs(said, functions=TOOLS):
    """The tools' answers to the calls of a message; all tools run at once."""
    calls = said["tool_calls"]
    told = await asyncio.gather(*(_use(functions, call["function"]) for call in calls))
    return [
        {"role": "tool", "tool_call_id": call["id"], "content": output}
        for call, output in zip(calls, told, strict=True)
    ]


async def _use(functions, call):
    output = functions[call["name"]](**json.loads(call["arguments"]))
    return await output if inspect.isawaitable(output) else output
