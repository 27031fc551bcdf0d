"""pydantic-ai over chat completions."""

from pydantic_ai import Agent
from trip import MODEL, QUESTION, SYSTEM, TOOLS

agent = Agent(f"openai-chat:{MODEL}", instructions=SYSTEM, tools=list(TOOLS.values()))
print(agent.run_sync(QUESTION).output)
