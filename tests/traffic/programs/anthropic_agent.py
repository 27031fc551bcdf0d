"""The Anthropic SDK with tools: several turns, streamed and not in one conversation; identical ones at once."""

import asyncio

import label
from anthropic import AsyncAnthropic
from rivers import FOLLOW_UPS, SAME, SYSTEM, TOOLS, messages_tools, question

MODEL = "anthropic/claude-haiku-4.5"


async def answer(client, asked, is_stream, **options):
    if not is_stream:
        return await client.messages.create(**asked, **options)
    async with client.messages.stream(**asked, **options) as stream:
        async for _ in stream:
            pass
        return await stream.get_final_message()


async def turn(client, messages, styles, **options):
    system = [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]
    while True:
        asked = {
            "model": MODEL,
            "max_tokens": 800,
            "system": system,
            "messages": messages,
            "tools": messages_tools(),
        }
        said = await answer(client, asked, next(styles), **options)
        messages.append({"role": "assistant", "content": said.content})
        calls = [block for block in said.content if block.type == "tool_use"]
        if not calls:
            return
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": TOOLS[call.name](**call.input)}
            for call in calls
        ]
        messages.append({"role": "user", "content": results})


def alternately():
    while True:
        yield True
        yield False


async def conversation(scenario, index, first, turns=1, **options):
    client, messages, styles = AsyncAnthropic(), [], alternately()
    for number, asked in enumerate((first, *FOLLOW_UPS)[:turns]):
        with label.run(scenario, f"r{index}", turn=number):
            messages.append({"role": "user", "content": asked})
            await turn(client, messages, styles, **options)


async def main():
    await asyncio.gather(*(conversation("turns", i, question(i), turns=3) for i in range(5)))
    await asyncio.gather(
        *(conversation("identical", i, SAME, turns=2, extra_body={"temperature": 0}) for i in range(4))
    )
    for i in range(3):
        await conversation("one_after_another", i, SAME, extra_body={"temperature": 0})
    same_start = (conversation("same_question", i, SAME, turns=3) for i in range(4))
    await asyncio.gather(*same_start)


asyncio.run(main())
