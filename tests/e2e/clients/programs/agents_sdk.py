"""OpenAI Agents SDK, with its default: the Responses API."""

from agents import Agent, Runner, function_tool
from trip import MODEL, QUESTION, SYSTEM, TOOLS

agent = Agent(
    name="trip-guide",
    instructions=SYSTEM,
    model=MODEL,
    tools=[function_tool(tool) for tool in TOOLS.values()],
)
print(Runner.run_sync(agent, QUESTION).final_output)
