"""OpenAI Python, the Responses API, streamed, chained by previous_response_id."""

import json

from openai import OpenAI
from trip import MODEL, PARAMETERS, QUESTION, SYSTEM, TOOLS

client = OpenAI()
tools = [
    {"type": "function", "name": name, "description": name, "parameters": PARAMETERS, "strict": False}
    for name in TOOLS
]
given, previous_id = QUESTION, None
while True:
    with client.responses.stream(
        model=MODEL, instructions=SYSTEM, input=given, tools=tools, previous_response_id=previous_id
    ) as stream:
        for _ in stream:
            pass
        response = stream.get_final_response()
    calls = [item for item in response.output if item.type == "function_call"]
    if not calls:
        break
    previous_id = response.id
    given = [
        {
            "type": "function_call_output",
            "call_id": call.call_id,
            "output": TOOLS[call.name](**json.loads(call.arguments)),
        }
        for call in calls
    ]
print(response.output_text)
