"""Runs of 44 steps, streamed: whole, with the oldest messages dropped, and with a summary in place of the head."""

import asyncio

import label
from chat_loop import answer, outputs
from openai import AsyncOpenAI
from rivers import MODEL, chat_tools

TASK = "Survey 44 stations in the order of their numbers, and note what stands out. This is round {}."
SYSTEM = "You survey gauging stations. Look at one station at a time."
CONDENSER = "You condense conversations of an agent, so that it can go on where it stopped."
COMPACT_AT = 25
KEPT = 10
TWO_TOOLS = chat_tools(("read_gauge", "list_reports"))


def whole(messages):
    return messages


def trimmed(messages):
    """The system prompt, the task and the last rounds, never beginning with a tool's answer."""
    recent = messages[2:][-KEPT:]
    while recent and recent[0]["role"] == "tool":
        recent = recent[1:]
    return messages[:2] + recent


def windowed(messages):
    """The system prompt and the last rounds: the task itself is gone in the end."""
    recent = messages[1:][-KEPT:]
    while recent and recent[0]["role"] == "tool":
        recent = recent[1:]
    note = {"role": "system", "content": SYSTEM + " Survey 44 stations in all."}
    return [note, *recent]


async def condensed(client, messages):
    told = "\n".join(f"{m['role']}: {m['content'] or m.get('tool_calls')}" for m in messages[1:])
    asked = [{"role": "system", "content": CONDENSER}, {"role": "user", "content": told}]
    return (await client.chat.completions.create(model=MODEL, messages=asked)).choices[0].message.content


async def survey(scenario, index, view=whole, keeps_last=None):
    """`keeps_last`: at step 25 a summary replaces the head, and so many of the last messages stay."""
    client = AsyncOpenAI()
    task = TASK.format(index + 1)
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": task}]
    with label.run(scenario, f"r{index}", frame_ms=0.2):
        for step in range(60):
            if step == COMPACT_AT and keeps_last is not None:
                summary = await condensed(client, messages)
                rest = messages[len(messages) - keeps_last :]
                restart = f"{task}\n\nThis is what was done before:\n{summary}"
                messages = [messages[0], {"role": "user", "content": restart}, *rest]
            said = await answer(client, view(messages), TWO_TOOLS, is_stream=True)
            messages.append(said)
            if not said.get("tool_calls"):
                return
            messages += await outputs(said)
    raise AssertionError("the survey does not end")


async def main():
    await asyncio.gather(*(survey("whole", i) for i in range(2)))
    await asyncio.gather(*(survey("trimmed", i, trimmed) for i in range(2)))
    await asyncio.gather(*(survey("windowed", i, windowed) for i in range(2)))
    await asyncio.gather(*(survey("compacted", i, keeps_last=4) for i in range(2)))
    await asyncio.gather(*(survey("compacted_wholly", i, keeps_last=0) for i in range(2)))


asyncio.run(main())
