"""OpenAI Python, synchronous: the usual loop over chat completions with tools."""

import json

from openai import OpenAI
from trip import MODEL, QUESTION, SYSTEM, TOOLS, chat_tools

client = OpenAI()
messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
while True:
    message = client.chat.completions.create(model=MODEL, messages=messages, tools=chat_tools()).choices[0].message
    messages.append(message)
    if not message.tool_calls:
        break
    for call in message.tool_calls:
        output = TOOLS[call.function.name](**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": output})
print(message.content)
