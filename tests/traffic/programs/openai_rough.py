"""A rough day: errors that the SDK retries, timeouts, streams that break, people who stop and ask again."""

import asyncio

import label
from chat_loop import answer, chat_loop, outputs
from openai import APIConnectionError, AsyncOpenAI
from rivers import FOLLOW_UPS, MODEL, SAME, SYSTEM, chat_tools, question

FAULTS = {"2": "500", "4": "429", "5": "500"}


def opening(asked):
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}]


async def retried(scenario, index, asked, faults, **options):
    """The SDK tries again by itself; its timeout is short enough for a model that hangs."""
    with label.run(scenario, f"r{index}", faults=faults):
        await chat_loop(AsyncOpenAI(timeout=1.5, max_retries=3), opening(asked), **options)


async def mixed(index):
    """One conversation, every second answer streamed."""
    client, messages = AsyncOpenAI(max_retries=2), opening(question(index))
    for number in range(3):
        with label.run("mixed_streaming", f"r{index}", turn=number, faults={"3": "429"}):
            for is_stream in (True, False) * 6:
                said = await answer(client, messages, chat_tools(), is_stream)
                messages.append(said)
                if not said.get("tool_calls"):
                    break
                messages += await outputs(said)
        messages.append({"role": "user", "content": FOLLOW_UPS[number]})


async def broken_stream(index, asked, **options):
    """The upstream drops the connection in the middle of a stream: the program sends the same again."""
    client, messages = AsyncOpenAI(max_retries=0), opening(asked)
    with label.run("broken_stream", f"r{index}", faults={"1": "cut", "3": "cut"}):
        for _ in range(12):
            try:
                said = await answer(client, messages, chat_tools(), is_stream=True, **options)
            except APIConnectionError:
                continue
            messages.append(said)
            if not said.get("tool_calls"):
                return
            messages += await outputs(said)


async def stopped(index, asked, again):
    """Somebody reads the first words, stops the answer and asks again: the same, or something else."""
    client, messages = AsyncOpenAI(), opening(asked)
    with label.run("stopped", f"r{index}", frame_ms=15):
        await chat_loop(client, messages, is_stream=True)
        messages.append({"role": "user", "content": FOLLOW_UPS[0]})
        with label.changed(turn=1):
            stream = await client.chat.completions.create(
                model=MODEL, messages=messages, tools=chat_tools(), stream=True
            )
            pieces = 0
            async for _ in stream:
                pieces += 1
                if pieces == 3:
                    break
            await stream.close()
        messages[-1] = {"role": "user", "content": again}
        with label.changed(turn=1 if again == FOLLOW_UPS[0] else 2):  # another question is another task
            await chat_loop(client, messages, is_stream=True)


async def main():
    await asyncio.gather(*(retried("retried", i, question(i), FAULTS) for i in range(4)))
    await asyncio.gather(*(retried("retried_first", i, question(i), {"1": "500"}) for i in range(4)))
    await asyncio.gather(*(retried("timed_out", i, question(i), {"2": "hang"}) for i in range(3)))
    await asyncio.gather(*(retried("retried_identical", i, SAME, FAULTS, temperature=0) for i in range(4)))
    await asyncio.gather(*(mixed(i) for i in range(4)))
    await asyncio.gather(*(broken_stream(i, question(i)) for i in range(3)))
    await asyncio.gather(*(stopped(i, question(i + 5), FOLLOW_UPS[i % 2]) for i in range(4)))


asyncio.run(main())
