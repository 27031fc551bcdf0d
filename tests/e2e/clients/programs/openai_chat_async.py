"""OpenAI Python, asynchronous."""

import asyncio
import json

from openai import AsyncOpenAI
from trip import MODEL, QUESTION, SYSTEM, TOOLS, chat_tools


async def main() -> None:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    async with AsyncOpenAI() as client:
        while True:
            answer = await client.chat.completions.create(model=MODEL, messages=messages, tools=chat_tools())
            message = answer.choices[0].message
            messages.append(message)
            if not message.tool_calls:
                break
            for call in message.tool_calls:
                output = TOOLS[call.function.name](**json.loads(call.function.arguments))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": output})
    print(message.content)


asyncio.run(main())
