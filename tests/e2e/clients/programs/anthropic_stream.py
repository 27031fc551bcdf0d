"""The Anthropic SDK with tools, streamed."""

from anthropic import Anthropic
from trip import PARAMETERS, QUESTION, SYSTEM, TOOLS

client = Anthropic()
tools = [{"name": name, "description": tool.__doc__, "input_schema": PARAMETERS} for name, tool in TOOLS.items()]
messages = [{"role": "user", "content": QUESTION}]
while True:
    with client.messages.stream(
        model="anthropic/claude-haiku-4.5", max_tokens=1000, system=SYSTEM, messages=messages, tools=tools
    ) as stream:
        for _ in stream:
            pass
        answer = stream.get_final_message()
    messages.append({"role": "assistant", "content": answer.content})
    calls = [block for block in answer.content if block.type == "tool_use"]
    if not calls:
        break
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": TOOLS[call.name](**call.input)}
        for call in calls
    ]
    messages.append({"role": "user", "content": results})
print(answer.content[-1].text)
