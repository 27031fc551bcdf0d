"""What the Python programs beside this file talk about: gauging stations on rivers."""

STATIONS = (
    "Alder Ford", "Birch Weir", "Cotter Lock", "Dunmore Bridge", "Elver Sluice", "Fenwick Mill", "Gorse Landing",
    "Hazel Reach", "Iron Gate", "Juniper Bend", "Kelp Narrows", "Larch Basin", "Moss Ferry", "Nettle Quay",
    "Otter Pool", "Plover Dam",
)  # fmt: skip
SYSTEM = "You are river-watch. You report on gauging stations. Use the tools and be brief."
MODEL = "openai/gpt-4.1-mini"


def question(index):
    """Another one for each index."""
    first, second = STATIONS[index % 16], STATIONS[(index * 5 + 3) % 16]
    return (
        f"How do {first} and {second} stand today?",
        f"Is it safe to open the footpath at {first}? Look at {second} too.",
        f"Write the morning note for {first}, with {second} for comparison.",
    )[index % 3]


SAME = "How do Hazel Reach and Moss Ferry stand today?"
FOLLOW_UPS = (
    "And what about Otter Pool?",
    "Which of them needs a visit this week?",
    "Thanks. Give it in feet, please.",
)


def read_gauge(station: str) -> str:
    """Read the gauge of a station.

    Args:
        station: Name of the station.
    """
    return f"{station}: {1 + sum(map(ord, station)) % 300 / 100:.2f} m, falling"


def list_reports(station: str) -> str:
    """List the reports about a station.

    Args:
        station: Name of the station.
    """
    return f"{station}: two reports, the last on Tuesday, about driftwood at the pier"


def convert_level(meters: float, unit: str) -> str:
    """Convert a level to another unit.

    Args:
        meters: The level in metres.
        unit: ft, cm or yd.
    """
    return f"{meters} m = {meters * {'ft': 3.2808, 'cm': 100, 'yd': 1.0936}.get(unit, 1):.2f} {unit}"


TOOLS = {tool.__name__: tool for tool in (read_gauge, list_reports, convert_level)}
PARAMETERS = {
    "read_gauge": {"station": "string"},
    "list_reports": {"station": "string"},
    "convert_level": {"meters": "number", "unit": "string"},
}


def schema(name):
    properties = {field: {"type": kind} for field, kind in PARAMETERS[name].items()}
    return {"type": "object", "properties": properties, "required": list(properties)}


def summary_line(tool):
    return tool.__doc__.splitlines()[0]


def chat_tools(names=tuple(TOOLS)):
    return [
        {
            "type": "function",
            "function": {"name": name, "description": summary_line(TOOLS[name]), "parameters": schema(name)},
        }
        for name in names
    ]


def messages_tools(names=tuple(TOOLS)):
    return [
        {"name": name, "description": summary_line(TOOLS[name]), "input_schema": schema(name)} for name in names
    ]
