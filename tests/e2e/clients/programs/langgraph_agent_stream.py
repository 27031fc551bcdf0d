"""LangGraph, streaming tokens."""

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from trip import MODEL, QUESTION, SYSTEM, TOOLS

agent = create_agent(ChatOpenAI(model=MODEL), list(TOOLS.values()), system_prompt=SYSTEM)
texts = {}
for message, _ in agent.stream({"messages": [("user", QUESTION)]}, stream_mode="messages"):
    texts[message.id] = texts.get(message.id, "") + message.text
print(list(texts.values())[-1])
