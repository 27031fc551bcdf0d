"""OpenAI Agents SDK over chat completions, streamed."""

import asyncio

from agents import Agent, Runner, function_tool, set_default_openai_api
from trip import MODEL, QUESTION, SYSTEM, TOOLS

set_default_openai_api("chat_completions")
agent = Agent(
    name="trip-guide",
    instructions=SYSTEM,
    model=MODEL,
    tools=[function_tool(tool) for tool in TOOLS.values()],
)


async def main() -> None:
    result = Runner.run_streamed(agent, QUESTION)
    async for _ in result.stream_events():
        pass
    print(result.final_output)


asyncio.run(main())
