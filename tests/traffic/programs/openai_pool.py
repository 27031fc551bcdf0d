"""Connections shared and not: one client for many agents, two agents on one connection, one per request."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import httpx2
import label
from chat_loop import chat_loop
from openai import AsyncOpenAI, OpenAI
from rivers import FOLLOW_UPS, MODEL, SAME, SYSTEM, TOOLS, chat_tools, question


def client(**limits):
    return AsyncOpenAI(http_client=httpx2.AsyncClient(limits=httpx2.Limits(**limits), timeout=60))


async def one(shared, scenario, index, first, turns=1, **options):
    messages = [{"role": "system", "content": SYSTEM}]
    for number, asked in enumerate((first, *FOLLOW_UPS)[:turns]):
        with label.run(scenario, f"r{index}", turn=number):
            messages.append({"role": "user", "content": asked})
            await chat_loop(shared, messages, **options)


def in_a_thread(shared, index):
    """The synchronous client, one for all threads."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question(index)}]
    with label.run("threads", f"r{index}"):
        while True:
            said = shared.chat.completions.create(model=MODEL, messages=messages, tools=chat_tools())
            messages.append(said.choices[0].message)
            calls = said.choices[0].message.tool_calls or []
            for call in calls:
                output = TOOLS[call.function.name](**json.loads(call.function.arguments))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": output})
            if not calls:
                return


async def main():
    pool = client()
    await asyncio.gather(*(one(pool, "one_pool", i, question(i), turns=2) for i in range(6)))
    await asyncio.gather(*(one(pool, "one_pool_identical", i, SAME, temperature=0) for i in range(6)))
    single = client(max_connections=1)
    await asyncio.gather(*(one(single, "one_connection", i, question(i + 6), turns=2) for i in range(2)))
    await asyncio.gather(*(one(single, "one_connection_identical", i, SAME, temperature=0) for i in range(2)))
    await asyncio.gather(*(one(single, "one_connection_same_question", i, SAME, turns=2) for i in range(3)))
    fresh = client(max_keepalive_connections=0)
    await asyncio.gather(*(one(fresh, "connection_per_request", i, question(i + 9), turns=2) for i in range(4)))
    stream = client()
    await asyncio.gather(*(one(stream, "one_pool_stream", i, question(i), is_stream=True) for i in range(4)))
    shared = OpenAI()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda i: copy_context().run(in_a_thread, shared, i), range(4)))


asyncio.run(main())
