"""LangGraph, by LangChain's create_agent."""

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from trip import MODEL, QUESTION, SYSTEM, TOOLS

agent = create_agent(ChatOpenAI(model=MODEL), list(TOOLS.values()), system_prompt=SYSTEM)
print(agent.invoke({"messages": [("user", QUESTION)]})["messages"][-1].text)
