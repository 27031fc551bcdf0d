"""Strands: agents as tools, several turns, a sliding window. It makes a client anew for each request."""

import asyncio

import label
from rivers import FOLLOW_UPS, MODEL, SAME, SYSTEM, list_reports, question, read_gauge
from strands import Agent, tool
from strands.agent.conversation_manager import SlidingWindowConversationManager
from strands.models.openai import OpenAIModel

READ, LIST = tool(read_gauge), tool(list_reports)


def agent(system, tools, is_deterministic=False, **more):
    model = OpenAIModel(model_id=MODEL, params={"temperature": 0} if is_deterministic else {})
    return Agent(model=model, system_prompt=system, tools=tools, callback_handler=None, **more)


async def turns(scenario, index, first, count=3, **more):
    river_watch = agent(SYSTEM, [READ, LIST], **more)
    for number, asked in enumerate((first, *FOLLOW_UPS)[:count]):
        with label.run(scenario, f"r{index}", turn=number):
            await river_watch.invoke_async(asked)


async def team(scenario, index, asked, is_deterministic=False):
    async def errand(name, system, task):
        with label.child(name):
            return str(await agent(system, [READ, LIST], is_deterministic).invoke_async(task))

    @tool
    async def ask_hydrologist(task: str) -> str:
        """Ask the hydrologist."""
        return await errand("hydrologist", "You are the hydrologist. You judge levels.", task)

    @tool
    async def ask_archivist(task: str) -> str:
        """Ask the archivist."""
        return await errand("archivist", "You are the archivist. You judge reports.", task)

    with label.run(scenario, f"r{index}"):
        await agent(SYSTEM, [READ, ask_hydrologist, ask_archivist], is_deterministic).invoke_async(asked)


def window():
    return SlidingWindowConversationManager(window_size=6)


async def main():
    await asyncio.gather(*(turns("turns", i, question(i)) for i in range(3)))
    await asyncio.gather(
        *(turns("window", i, question(i + 3), 4, conversation_manager=window()) for i in range(3))
    )
    await asyncio.gather(*(turns("identical", i, SAME, 1, is_deterministic=True) for i in range(4)))
    await asyncio.gather(*(team("team", i, question(i)) for i in range(3)))
    await asyncio.gather(*(team("team_same_question", i, SAME) for i in range(3)))
    await asyncio.gather(*(team("team_identical", i, SAME, is_deterministic=True) for i in range(3)))


asyncio.run(main())
