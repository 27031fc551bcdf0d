"""Sub-agents as Claude's Agent SDK has them: a `Task` tool whose call runs an agent with a prompt of its own.

Three errands go out in one answer and run at the same time; in `nested`, each surveyor asks an archivist in turn.
"""

import asyncio

import label
from anthropic import AsyncAnthropic
from rivers import SAME, TOOLS, messages_tools, question

LEAD = "You are the lead of the river watch. Use Task to send surveyors; they report back to you."
SURVEYOR = "You are a surveyor sent out on one errand. Your last message is handed to the lead, nothing else is."
ARCHIVIST = "You are the archivist. You answer from the reports."
TASK = {
    "name": "Task",
    "description": "Send a surveyor",
    "input_schema": {
        "type": "object",
        "properties": {
            "description": {"type": "string", "description": "Three to five words"},
            "prompt": {"type": "string", "description": "The whole errand"},
            "subagent_type": {"type": "string"},
        },
        "required": ["description", "prompt", "subagent_type"],
    },
}
ASK = {
    "name": "ask_archivist",
    "description": "Ask the archivist",
    "input_schema": {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]},
}


class Agent:
    """One loop; `delegates` maps a tool's name to the agent that does its work."""

    def __init__(self, client, system, tools, delegates=None, is_stream=False, **options):
        self.client, self.system, self.tools, self.delegates = client, system, tools, delegates or {}
        self.is_stream, self.options = is_stream, options

    async def run(self, task):
        messages = [{"role": "user", "content": task}]
        while True:
            said = await self.answer(messages)
            messages.append(
                {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in said.content]}
            )
            calls = [block for block in said.content if block.type == "tool_use"]
            if not calls:
                return "".join(block.text for block in said.content if block.type == "text")
            outputs = await asyncio.gather(*(self.use(number, call) for number, call in enumerate(calls)))
            results = [
                {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": output}]}
                for call, output in zip(calls, outputs, strict=True)
            ]
            messages.append({"role": "user", "content": results})

    async def answer(self, messages):
        asked = {"model": "anthropic/claude-haiku-4.5", "max_tokens": 800, "messages": messages, **self.options}
        if not self.is_stream:
            return await self.client.messages.create(system=self.system, tools=self.tools, **asked)
        async with self.client.messages.stream(system=self.system, tools=self.tools, **asked) as stream:
            return await stream.get_final_message()

    async def use(self, number, call):
        if call.name not in self.delegates:
            return TOOLS[call.name](**call.input)
        with label.child(f"{call.name}{number}"):
            return await self.delegates[call.name].run(call.input.get("prompt") or call.input["question"])


def team(is_nested, is_stream, **options):
    client = AsyncAnthropic()  # one for the whole team, as the SDK has it
    own = messages_tools(("read_gauge", "list_reports"))
    archivist = Agent(client, ARCHIVIST, own[1:], **options)
    more = ([ASK], {"ask_archivist": archivist}) if is_nested else ([], {})
    surveyor = Agent(client, SURVEYOR, own + more[0], more[1], is_stream, **options)
    return Agent(client, LEAD, [*messages_tools(("read_gauge",)), TASK], {"Task": surveyor}, is_stream, **options)


async def one(scenario, index, task, is_nested=False, is_stream=False, **options):
    with label.run(scenario, f"r{index}"):
        await team(is_nested, is_stream, **options).run(task)


async def main():
    await asyncio.gather(*(one("different", i, question(i)) for i in range(3)))
    await asyncio.gather(*(one("same_question", i, SAME, is_stream=True) for i in range(3)))
    await asyncio.gather(*(one("identical", i, SAME, extra_body={"temperature": 0}) for i in range(3)))
    await asyncio.gather(*(one("nested", i, question(i + 7), is_nested=True) for i in range(2)))


asyncio.run(main())
