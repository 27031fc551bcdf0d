"""OpenAI Python, streaming, with the helper that puts the pieces together."""

import json

from openai import OpenAI
from trip import MODEL, QUESTION, SYSTEM, TOOLS, chat_tools

client = OpenAI()
messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
while True:
    with client.chat.completions.stream(model=MODEL, messages=messages, tools=chat_tools()) as stream:
        for _ in stream:
            pass
        message = stream.get_final_completion().choices[0].message
    messages.append(message)
    if not message.tool_calls:
        break
    for call in message.tool_calls:
        output = TOOLS[call.function.name](**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": output})
print(message.content)
