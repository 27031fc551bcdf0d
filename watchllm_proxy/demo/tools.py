"""The sample agents' tools: small, canned, and one of them wrong-headed in the same way every time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from watchllm_proxy.demo.json_access import JsonObject, as_text

ToolBody = Callable[[JsonObject], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may ask for. `parameters` maps each argument to its JSON type."""

    name: str
    description: str
    parameters: Mapping[str, str]
    run: ToolBody

    @property
    def schema(self) -> JsonObject:
        properties = {name: {"type": kind} for name, kind in self.parameters.items()}
        return {"type": "object", "properties": properties, "required": list(properties)}


def canned(took_s: float, result: JsonObject) -> ToolBody:
    """A tool that takes its time and always answers the same."""

    async def run(_arguments: JsonObject) -> str:
        await asyncio.sleep(took_s)
        return json.dumps(result, ensure_ascii=False)

    return run


async def _create_refund(arguments: JsonObject) -> str:
    """Refunds in the order's own currency, euros, and in no other."""
    await asyncio.sleep(0.2)
    if arguments.get("currency") == "EUR":
        return json.dumps({"refund_id": "RF-3301", "status": "confirmed"})
    error = {
        "type": "invalid_request",
        "code": "currency_mismatch",
        "param": "currency",
        "message": "Refund currency does not match the captured payment.",
    }
    return json.dumps({"error": error})


async def _read_page(arguments: JsonObject) -> str:
    await asyncio.sleep(0.15)
    pages = {
        "https://example.com/oceanario-night": "Night at the sharks. Saturdays 18:00-20:00. From 6 years. 18 EUR.",
        "https://example.com/belem-puppets": "Puppets at Belém. Sundays 11:00, indoors. From 3 years. 9 EUR.",
    }
    return pages.get(as_text(arguments.get("url")), "404 page not found")


ORDER_TOOLS = (
    Tool(
        "order_lookup",
        "Find an order by its number.",
        {"order_id": "string"},
        canned(
            0.15,
            {"order_id": "789", "status": "shipped", "carrier": "DHL", "tracking_number": "JD0146000789"},
        ),
    ),
    Tool(
        "track_parcel",
        "Ask a carrier where a parcel is.",
        {"carrier": "string", "tracking_number": "string"},
        canned(0.25, {"status": "out_for_delivery", "place": "Lisbon", "window": "14:00-16:00"}),
    ),
)

REFUND_TOOLS = (
    Tool(
        "get_order",
        "Find an order, its item, amount and currency.",
        {"order_id": "string"},
        canned(
            0.12,
            {
                "order_id": "A-10432",
                "customer_id": "C-2207",
                "sku": "HD-450-BLK",
                "item": "HD-450 headphones, black",
                "status": "delivered",
                "amount": 84.5,
                "currency": "EUR",
            },
        ),
    ),
    Tool(
        "get_customer",
        "Find a customer.",
        {"customer_id": "string"},
        canned(0.1, {"customer_id": "C-2207", "name": "Jo Berg", "country": "US", "orders": 4}),
    ),
    Tool(
        "check_stock",
        "How many of an item are in stock.",
        {"sku": "string"},
        canned(0.08, {"sku": "HD-450-BLK", "in_stock": 17}),
    ),
    Tool(
        "create_refund",
        "Refund an order, in the currency it was paid in.",
        {"order_id": "string", "amount": "number", "currency": "string", "reason": "string"},
        _create_refund,
    ),
    Tool(
        "get_fx_rate",
        "The exchange rate between two currencies.",
        {"from": "string", "to": "string"},
        canned(0.1, {"from": "EUR", "to": "USD", "rate": 1.0931}),
    ),
    Tool(
        "create_replacement",
        "Send an item again, free of charge.",
        {"order_id": "string", "sku": "string"},
        canned(0.2, {"replacement_id": "R-5518", "status": "created"}),
    ),
)

TRIP_TOOLS = (
    Tool(
        "get_weather",
        "Weather forecast.",
        {"city": "string", "days": "integer"},
        canned(0.12, {"saturday": "sunny, 19 °C", "sunday": "showers, 16 °C"}),
    ),
    Tool(
        "estimate_budget",
        "What a stay costs.",
        {"city": "string", "people": "integer", "nights": "integer"},
        canned(0.08, {"total": 640, "currency": "EUR"}),
    ),
)

RESEARCH_TOOLS = (
    Tool(
        "search_web",
        "Search the web.",
        {"query": "string"},
        canned(
            0.2,
            {"results": ["https://example.com/oceanario-night", "https://example.com/belem-puppets"]},
        ),
    ),
    Tool("read_page", "Read a web page.", {"url": "string"}, _read_page),
)

BRIEF_TOOLS = (
    Tool(
        "list_meetings",
        "Today's meetings.",
        {"date": "string"},
        canned(0.1, {"meetings": ["09:30 auditors", "11:00 hiring", "15:00 roadmap"]}),
    ),
    Tool(
        "list_unread",
        "Unread messages, newest first.",
        {"limit": "integer"},
        canned(
            0.14,
            {"messages": ["Ana: please send the signed offer by noon", "Porto: our launch moves to Thursday"]},
        ),
    ),
)
