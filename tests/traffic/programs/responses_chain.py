"""The Responses API: chains by `previous_response_id`, conversations, histories kept by the client, branches."""

import asyncio
import json

import label
from openai import AsyncOpenAI
from rivers import FOLLOW_UPS, MODEL, SAME, SYSTEM, TOOLS, chat_tools, question

RESPONSES_TOOLS = [{"type": "function", "strict": False, **tool["function"]} for tool in chat_tools()]


async def create(client, is_stream=False, **asked):
    asked = {"model": MODEL, "instructions": SYSTEM, "tools": RESPONSES_TOOLS, **asked}
    if not is_stream:
        return await client.responses.create(**asked)
    async with client.responses.stream(**asked) as stream:
        async for _ in stream:
            pass
        return await stream.get_final_response()


def outputs(response):
    """What the tools answer to the calls of a response, in parallel or not."""
    return [
        {
            "type": "function_call_output",
            "call_id": item.call_id,
            "output": TOOLS[item.name](**json.loads(item.arguments)),
        }
        for item in response.output
        if item.type == "function_call"
    ]


async def chained(client, asked, previous=None, **options):
    """Each request names the response before it and holds only what is new. Returns the last response's id."""
    news = [{"role": "user", "content": asked}]
    while news:
        more = {"previous_response_id": previous} if previous else {}
        response = await create(client, input=news, **more, **options)
        previous, news = response.id, outputs(response)
    return previous


async def in_conversation(client, asked, conversation, **options):
    news = [{"role": "user", "content": asked}]
    while news:
        news = outputs(await create(client, input=news, conversation=conversation, **options))


async def remembered(client, items, **options):
    """The client keeps all items and sends them all again."""
    news = True
    while news:
        response = await create(client, input=items, store=False, **options)
        items += [item.model_dump(exclude_none=True) for item in response.output]
        news = outputs(response)
        items += news


async def chain(scenario, index, first, turns, **options):
    client, last = AsyncOpenAI(), None
    for number, asked in enumerate((first, *FOLLOW_UPS)[:turns]):
        with label.run(scenario, f"r{index}", turn=number):
            last = await chained(client, asked, last, **options)


async def conversation(scenario, index, first, turns, **options):
    client = AsyncOpenAI()
    with label.run(scenario, f"r{index}"):
        created = await client.conversations.create()
        for number, asked in enumerate((first, *FOLLOW_UPS)[:turns]):
            with label.changed(turn=number):
                named = created.id if index % 2 else {"id": created.id}
                await in_conversation(client, asked, named, **options)


async def own_memory(scenario, index, first, turns, **options):
    client, items = AsyncOpenAI(), []
    for number, asked in enumerate((first, *FOLLOW_UPS)[:turns]):
        with label.run(scenario, f"r{index}", turn=number):
            items.append({"role": "user", "content": asked})
            await remembered(client, items, **options)


async def branches(index):
    """Two follow-ups go on from the same response."""
    client = AsyncOpenAI()
    with label.run("branches", f"r{index}"):
        last = await chained(client, question(index))

        async def branch(number):
            with label.run("branches", f"r{index}.b{number}", branch_of=f"r{index}", turn=1):
                await chained(client, FOLLOW_UPS[number], last)

        await asyncio.gather(branch(0), branch(1))


async def main():
    await asyncio.gather(*(chain("chain", i, question(i), 4) for i in range(4)))
    await asyncio.gather(*(chain("chain_stream", i, question(i), 2, is_stream=True) for i in range(3)))
    await asyncio.gather(*(chain("chain_identical", i, SAME, 2, temperature=0) for i in range(4)))
    await asyncio.gather(*(conversation("conversation", i, question(i), 3) for i in range(4)))
    await asyncio.gather(*(conversation("conversation_identical", i, SAME, 2, temperature=0) for i in range(3)))
    await asyncio.gather(*(own_memory("own_memory", i, question(i), 3) for i in range(3)))
    await asyncio.gather(*(own_memory("own_memory_identical", i, SAME, 2, temperature=0) for i in range(3)))
    await asyncio.gather(*(branches(i) for i in range(2)))


asyncio.run(main())
