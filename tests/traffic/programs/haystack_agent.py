"""Haystack: its Agent component, streamed and not, several turns."""

import asyncio

import label
from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import create_tool_from_function
from rivers import FOLLOW_UPS, MODEL, SAME, SYSTEM, list_reports, question, read_gauge

READ, LIST = create_tool_from_function(read_gauge), create_tool_from_function(list_reports)


async def ignore(_chunk):
    """What a page would show, piece by piece."""


def agent(system, tools, is_deterministic=False, is_stream=False):
    options = {"temperature": 0} if is_deterministic else {}
    generator = OpenAIChatGenerator(model=MODEL, generation_kwargs=options)
    return Agent(
        chat_generator=generator,
        tools=tools,
        system_prompt=system,
        streaming_callback=ignore if is_stream else None,
    )


async def turns(scenario, index, first, count=3, **more):
    river_watch, messages = agent(SYSTEM, [READ, LIST], **more), []
    for number, asked in enumerate((first, *FOLLOW_UPS)[:count]):
        with label.run(scenario, f"r{index}", turn=number):
            said = await river_watch.run_async(messages=[*messages, ChatMessage.from_user(asked)])
            messages = [message for message in said["messages"] if not message.is_from("system")]


async def main():
    await asyncio.gather(*(turns("turns", i, question(i)) for i in range(3)))
    await asyncio.gather(*(turns("streamed", i, question(i + 4), is_stream=True) for i in range(3)))
    await asyncio.gather(*(turns("identical", i, SAME, 2, is_deterministic=True) for i in range(4)))


asyncio.run(main())
