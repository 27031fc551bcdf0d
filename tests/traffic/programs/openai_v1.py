"""An older OpenAI SDK (1.x): tools, tools in threads, structured answers, an agent with a clock in its prompt."""

import asyncio
import json
import time

import label
from chat_loop import chat_loop
from openai import AsyncOpenAI, OpenAI
from rivers import FOLLOW_UPS, MODEL, SAME, SYSTEM, TOOLS, chat_tools, question


async def turns(scenario, index, first, count=1, system=lambda: SYSTEM, **options):
    client, messages = AsyncOpenAI(), [{"role": "system", "content": system()}]
    for number, asked in enumerate((first, *FOLLOW_UPS)[:count]):
        with label.run(scenario, f"r{index}", turn=number):
            messages[0] = {"role": "system", "content": system()}
            messages.append({"role": "user", "content": asked})
            await chat_loop(client, messages, **options)


def clock():
    return f"{SYSTEM} It is {time.strftime('%H:%M:%S')}, {time.monotonic_ns()} ns after the start."


def synchronous(index):
    """The SDK's own objects go back as they came; arguments are parsed and written anew."""
    client = OpenAI()
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question(index)}]
    with label.run("objects_sent_back", f"r{index}"):
        while True:
            said = client.chat.completions.create(model=MODEL, messages=messages, tools=chat_tools())
            message = said.choices[0].message
            messages.append(message)
            if not message.tool_calls:
                return
            for call in message.tool_calls:
                arguments = json.loads(call.function.arguments)
                call.function.arguments = json.dumps(arguments, indent=1, sort_keys=True)
                output = TOOLS[call.function.name](**arguments)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": output})


async def chat_without_tools(index):
    """A plain conversation, remembered by the client: no tools, no ids."""
    client, messages = AsyncOpenAI(), [{"role": "system", "content": "You tell of rivers."}]
    for number, asked in enumerate((question(index), *FOLLOW_UPS)):
        with label.run("plain_chat", f"r{index}", turn=number):
            messages.append({"role": "user", "content": asked})
            said = await client.chat.completions.create(model=MODEL, messages=messages)
            messages.append({"role": "assistant", "content": said.choices[0].message.content})


async def title(index):
    """One call and no more: each is a run of its own."""
    with label.run("titles", f"n{index}"):
        await AsyncOpenAI().chat.completions.create(
            model=MODEL,
            messages=[
                {"role": "system", "content": "Write a short title."},
                {"role": "user", "content": question(index % 3)},
            ],
        )


async def main():
    await asyncio.gather(*(turns("turns", i, question(i), 3) for i in range(4)))
    await asyncio.gather(*(turns("clock_in_prompt", i, question(i + 4), 3, clock) for i in range(3)))
    await asyncio.gather(*(turns("identical", i, SAME, temperature=0) for i in range(4)))
    await asyncio.gather(*(turns("streamed", i, question(i), 2, is_stream=True) for i in range(3)))
    await asyncio.gather(*(asyncio.to_thread(synchronous, i) for i in range(3)))
    await asyncio.gather(*(chat_without_tools(i) for i in range(3)))
    await asyncio.gather(*(title(i) for i in range(6)))


asyncio.run(main())
