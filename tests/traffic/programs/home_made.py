"""Agents that people write themselves: ReAct in text, retrieval and a model inside a tool, branches, a plan."""

import asyncio
import json
import re

import label
from chat_loop import chat_loop
from openai import AsyncOpenAI
from rivers import FOLLOW_UPS, MODEL, SAME, SYSTEM, TOOLS, chat_tools, question

REACT = """You answer questions about gauging stations.
You have these tools: read_gauge(station), list_reports(station). Use this format and no other:

Thought: what you think
Action: the tool
Action Input: its arguments as JSON
Observation: the result of the tool
... (these four may repeat)
Final Answer: your answer"""
NOTES = (
    "Driftwood piles up at the piers after every storm.",
    "The gauges are levelled in May.",
    "Footpaths close above three metres.",
)
SEARCH = {
    "type": "function",
    "function": {
        "name": "search_notes",
        "description": "Search the station notes",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    },
}


def observation(text):
    """What the tool answers to the action in a text; None when the text is the final answer."""
    if "Final Answer:" in text:
        return None
    name = re.search(r"Action: (\w+)", text)[1]
    return TOOLS[name](**json.loads(re.search(r"Action Input: (\{.*\})", text)[1]))


async def react_by_messages(scenario, index, asked, **options):
    """The observation is the next message of the user."""
    client, messages = AsyncOpenAI(), [{"role": "system", "content": REACT}, {"role": "user", "content": asked}]
    with label.run(scenario, f"r{index}"):
        for _ in range(8):
            said = await client.chat.completions.create(
                model=MODEL, messages=messages, stop=["Observation:"], **options
            )
            text = said.choices[0].message.content
            seen = observation(text)
            if seen is None:
                return
            messages.append({"role": "assistant", "content": text})
            messages.append({"role": "user", "content": f"Observation: {seen}"})


async def react_by_scratchpad(scenario, index, asked, **options):
    """One user message that grows: the question, then all that was thought and seen."""
    client, pad = AsyncOpenAI(), ""
    with label.run(scenario, f"r{index}"):
        for _ in range(8):
            messages = [{"role": "user", "content": f"{REACT}\n\nQuestion: {asked}\n{pad}"}]
            said = await client.chat.completions.create(
                model=MODEL, messages=messages, stop=["Observation:"], **options
            )
            text = said.choices[0].message.content
            seen = observation(text)
            if seen is None:
                return
            pad += f"{text}\nObservation: {seen}\n"


async def with_retrieval(scenario, index, asked, **options):
    """A tool embeds the query, finds a note, and lets a model put it into words: all of it is one run."""
    client = AsyncOpenAI()

    async def search_notes(query):
        await client.embeddings.create(
            model="openai/text-embedding-3-small", input=[query], encoding_format="float"
        )
        told = await client.chat.completions.create(
            model=MODEL,
            messages=[
                {"role": "system", "content": "Answer from the notes below, in one sentence."},
                {"role": "user", "content": f"{NOTES[index % 3]}\n\n{query}"},
            ],
        )
        return told.choices[0].message.content

    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}]
    functions = {**TOOLS, "search_notes": search_notes}
    with label.run(scenario, f"r{index}"):
        await chat_loop(client, messages, [*chat_tools(("read_gauge",)), SEARCH], functions, **options)


async def branched(index):
    """After the first answer two follow-ups go on from the same history, at the same time."""
    client = AsyncOpenAI()
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question(index)}]
    with label.run("branched", f"r{index}"):
        await chat_loop(client, messages)

    async def branch(number):
        with label.run("branched", f"r{index}.b{number}", branch_of=f"r{index}", turn=1):
            await chat_loop(client, [*messages, {"role": "user", "content": FOLLOW_UPS[number]}])

    await asyncio.gather(branch(0), branch(1))


async def plan_and_merge(index):
    """A plan, three parts written at once, one answer out of them: no tools, no ids, one run."""
    client = AsyncOpenAI()

    async def ask(system, text):
        messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
        return (await client.chat.completions.create(model=MODEL, messages=messages)).choices[0].message.content

    with label.run("plan_and_merge", f"r{index}"):
        plan = await ask("Make a plan.", question(index))
        parts = ("levels", "reports", "paths")
        written = await asyncio.gather(*(ask("Write one part.", f"{plan}\nPart: {part}") for part in parts))
        await ask("Put the parts together.", "\n\n".join(written))


async def main():
    await asyncio.gather(*(react_by_messages("react_messages", i, question(i)) for i in range(4)))
    await asyncio.gather(
        *(react_by_messages("react_messages_identical", i, SAME, temperature=0) for i in range(3))
    )
    await asyncio.gather(*(react_by_scratchpad("react_scratchpad", i, question(i)) for i in range(4)))
    await asyncio.gather(*(react_by_scratchpad("react_scratchpad_same_question", i, SAME) for i in range(3)))
    await asyncio.gather(*(with_retrieval("retrieval", i, question(i)) for i in range(4)))
    await asyncio.gather(*(with_retrieval("retrieval_identical", i, SAME, temperature=0) for i in range(3)))
    await asyncio.gather(*(branched(i) for i in range(3)))
    await asyncio.gather(*(plan_and_merge(i) for i in range(3)))


asyncio.run(main())
