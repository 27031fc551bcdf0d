"""What the Python programs beside this file talk about."""

import os

MODEL = os.environ.get("TRIP_MODEL", "openai/gpt-4.1-mini")
SYSTEM = "You are trip-guide. You plan weekend trips. Use the tools."
QUESTION = "Plan a weekend in Oslo for me."
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"{city}: sunny, 19 degrees"


def list_events(city: str) -> str:
    """List the events in a city."""
    return f"{city}: jazz festival on Sunday"


TOOLS = {"get_weather": get_weather, "list_events": list_events}


def chat_tools() -> list:
    return [
        {
            "type": "function",
            "function": {"name": name, "description": tool.__doc__, "parameters": PARAMETERS},
        }
        for name, tool in TOOLS.items()
    ]
