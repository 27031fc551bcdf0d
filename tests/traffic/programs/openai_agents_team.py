"""The OpenAI Agents SDK: agents as tools, hand-offs, identical teams at once; chat completions and Responses."""

import asyncio

import label
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunHooks,
    Runner,
    SQLiteSession,
    function_tool,
)
from openai import AsyncOpenAI
from rivers import FOLLOW_UPS, MODEL, SAME, SYSTEM, list_reports, question, read_gauge

READ, LIST = function_tool(read_gauge), function_tool(list_reports)


class Team:
    """A lead and two specialists on one client."""

    def __init__(self, kind, is_deterministic):
        self.model = kind(model=MODEL, openai_client=AsyncOpenAI())
        self.settings = ModelSettings(temperature=0 if is_deterministic else None)

    def agent(self, name, instructions, tools, **more):
        return Agent(
            name=name,
            instructions=instructions,
            tools=tools,
            model=self.model,
            model_settings=self.settings,
            **more,
        )

    def with_specialists(self):
        hydrologist = self.agent("hydrologist", "You are the hydrologist. You judge levels.", [READ])
        archivist = self.agent("archivist", "You are the archivist. You judge reports.", [LIST])

        @function_tool
        async def ask_hydrologist(task: str) -> str:
            """Ask the hydrologist."""
            return await errand("hydrologist", hydrologist, task)

        @function_tool
        async def ask_archivist(task: str) -> str:
            """Ask the archivist."""
            return await errand("archivist", archivist, task)

        return self.agent("lead", SYSTEM, [READ, ask_hydrologist, ask_archivist])

    def with_hand_off(self):
        archivist = self.agent("archivist", "You are the archivist. You answer in the end.", [LIST])
        return self.agent("lead", SYSTEM, [READ], handoffs=[archivist])


async def errand(name, agent, task):
    with label.child(name):
        return (await Runner.run(agent, task)).final_output


class TellsWhoSpeaks(RunHooks):
    async def on_agent_start(self, _context, agent):
        label.set_agent(agent.name)


async def one(scenario, index, asked, make, kind, is_deterministic=False, is_stream=False, hooks=None):
    lead = make(Team(kind, is_deterministic))
    with label.run(scenario, f"r{index}"):
        if not is_stream:
            await Runner.run(lead, asked, hooks=hooks)
            return
        async for _ in Runner.run_streamed(lead, asked, hooks=hooks).stream_events():
            pass


async def with_session(scenario, index, kind):
    session = SQLiteSession(f"{scenario}-{index}")
    agent = Team(kind, False).agent("lead", SYSTEM, [READ, LIST])
    for number, asked in enumerate((question(index), *FOLLOW_UPS[:2])):
        with label.run(scenario, f"r{index}", turn=number):
            await Runner.run(agent, asked, session=session)


async def main():
    for name, kind in (("chat", OpenAIChatCompletionsModel), ("responses", OpenAIResponsesModel)):
        team, hand_off = Team.with_specialists, Team.with_hand_off
        for scenario, asked, options in (
            ("specialists", question, {}),
            ("specialists_same_question", lambda _: SAME, {"is_stream": True}),
            ("specialists_identical", lambda _: SAME, {"is_deterministic": True}),
        ):
            await asyncio.gather(
                *(one(f"{name}_{scenario}", i, asked(i), team, kind, **options) for i in range(3))
            )
        for scenario, asked, options in (
            ("hand_off", question, {}),
            ("hand_off_identical", lambda _: SAME, {"is_deterministic": True}),
        ):
            runs = (
                one(f"{name}_{scenario}", i, asked(i), hand_off, kind, hooks=TellsWhoSpeaks(), **options)
                for i in range(3)
            )
            await asyncio.gather(*runs)
        await asyncio.gather(*(with_session(f"{name}_session", i, kind) for i in range(3)))


asyncio.run(main())
