"""What the scripted model says, as a table: scenario -> turns.

A scenario is picked by the conversation itself: its `cue` is a phrase of the system prompt or of the first
question. Its turn is picked by how often the model has answered in that conversation. So the model needs no
state, any number of conversations may run at once, and the same conversation always gets the same words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Use:
    """The model asks for a tool."""

    tool: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Failure:
    """An error the model's server answers with, in OpenAI's shape."""

    status: int
    type: str
    code: str
    message: str
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer. With `fails_first`, the first request for it fails so, and the same request again gets it."""

    text: str = ""
    uses: tuple[Use, ...] = ()
    fails_first: Failure | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    cue: str  # a phrase of the system prompt or the first question, as it stands there
    turns: tuple[Turn, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input_usd: Decimal
    cached_input_usd: Decimal
    output_usd: Decimal


PRICES: Mapping[str, Price] = {
    "openai/gpt-4.1-mini": Price(Decimal("0.40"), Decimal("0.10"), Decimal("1.60")),
    "openai/gpt-4.1": Price(Decimal("2.00"), Decimal("0.50"), Decimal("8.00")),
    "anthropic/claude-haiku-4.5": Price(Decimal("1.00"), Decimal("0.10"), Decimal("5.00")),
}
"""Models whose answers tell their own cost, as OpenRouter's do. Any other model is served, without a cost."""


RATE_LIMITED = Failure(
    429,
    "rate_limit_error",
    "rate_limit_exceeded",
    "Rate limit reached for gpt-4.1-mini on requests per minute. Please try again in 1s.",
    retry_after_s=1,
)
SERVER_ERROR = Failure(
    500,
    "server_error",
    "internal_error",
    "The server had an error while processing your request. Sorry about that!",
)

REFUND_IN_USD = Use(
    "create_refund",
    {"order_id": "A-10432", "amount": 84.5, "currency": "USD", "reason": "damaged_on_arrival"},
)

ORDER_ASSISTANT = Scenario(
    name="order-assistant",
    cue="You are order-assistant",
    turns=(
        Turn(text="Let me look that up.", uses=(Use("order_lookup", {"order_id": "789"}),)),
        Turn(uses=(Use("track_parcel", {"carrier": "DHL", "tracking_number": "JD0146000789"}),)),
        Turn(
            text="Good news: order #789 was shipped yesterday with DHL and is out for delivery in Lisbon. "
            "It should reach you today between 14:00 and 16:00. You can follow it with the tracking number "
            "JD0146000789."
        ),
    ),
)

SUPPORT_REFUND_AGENT = Scenario(
    name="support-refund-agent",
    cue="You are support-refund-agent",
    turns=(
        Turn(
            text="I am sorry to hear that. I will check the order first.",
            uses=(Use("get_order", {"order_id": "A-10432"}),),
        ),
        Turn(
            uses=(
                Use("get_customer", {"customer_id": "C-2207"}),
                Use("check_stock", {"sku": "HD-450-BLK"}),
            )
        ),
        # The story: the customer lives in the US, so the model asks for dollars, though the order is in euros.
        # The tool refuses the same call three times, and once more later; at the end the model claims success.
        Turn(uses=(REFUND_IN_USD,)),
        Turn(uses=(REFUND_IN_USD,)),
        Turn(uses=(REFUND_IN_USD,)),
        Turn(uses=(Use("get_fx_rate", {"from": "EUR", "to": "USD"}),), fails_first=RATE_LIMITED),
        Turn(uses=(REFUND_IN_USD,)),
        Turn(uses=(Use("create_replacement", {"order_id": "A-10432", "sku": "HD-450-BLK"}),)),
        Turn(
            text="I am sorry about the cracked ear cup. I have refunded $84.50 to your card; it will show up "
            "within 3 to 5 days. A new pair is on its way as well, replacement R-5518. Anything else?"
        ),
    ),
)

TRIP_PLANNER = Scenario(
    name="trip-planner",
    cue="You are trip-planner",
    turns=(
        Turn(
            text="I will check the weather and have the events researched.",
            uses=(
                Use("get_weather", {"city": "Lisbon", "days": 2}),
                Use(
                    "research",
                    {"task": "Find two events in Lisbon this weekend that suit a family with children."},
                ),
            ),
        ),
        Turn(
            uses=(Use("estimate_budget", {"city": "Lisbon", "people": 4, "nights": 2}),), fails_first=SERVER_ERROR
        ),
        Turn(
            text="Your weekend in Lisbon: on Saturday the Oceanário's night at the sharks (18:00), on Sunday the "
            "puppet theatre in Belém (11:00), which is indoors in case of the showers forecast for then. "
            "For four people reckon with about 640 EUR, two nights included."
        ),
    ),
)

RESEARCHER = Scenario(
    name="researcher",
    cue="You are researcher",
    turns=(
        Turn(uses=(Use("search_web", {"query": "Lisbon family events this weekend"}),)),
        Turn(
            uses=(
                Use("read_page", {"url": "https://example.com/oceanario-night"}),
                Use("read_page", {"url": "https://example.com/belem-puppets"}),
            )
        ),
        Turn(
            text="1. Night at the sharks, Oceanário de Lisboa, Saturday 18:00, from 6 years. "
            "2. Puppet theatre, Museu da Marioneta at Belém, Sunday 11:00, from 3 years."
        ),
    ),
)

DAILY_BRIEF = Scenario(
    name="daily-brief",
    cue="You are daily-brief",
    turns=(
        Turn(uses=(Use("list_meetings", {"date": "2026-11-23"}), Use("list_unread", {"limit": 5}))),
        Turn(
            text="Three meetings today, the first at 09:30 with the auditors. Two messages need you: Ana asks for "
            "the signed offer by noon, and the Porto team moved its launch to Thursday."
        ),
    ),
)

DEMO_SCRIPT: Sequence[Scenario] = (
    ORDER_ASSISTANT,
    SUPPORT_REFUND_AGENT,
    TRIP_PLANNER,
    RESEARCHER,
    DAILY_BRIEF,
)

OFF_SCRIPT = Turn(
    text="This is the demo's scripted model: it knows the sample agents and nothing else. "
    "Start `watchllm up` with WATCHLLM_UPSTREAM_URL set to talk to a real one."
)


def choose_turn(script: Sequence[Scenario], opening: str, answers: int) -> Turn:
    """The turn for a conversation that opened with `opening` (system prompt and first question) and in which
    the model has answered `answers` times. A conversation or a turn that the script lacks gets `OFF_SCRIPT`."""
    for scenario in script:
        if scenario.cue in opening and answers < len(scenario.turns):
            return scenario.turns[answers]
    return OFF_SCRIPT
