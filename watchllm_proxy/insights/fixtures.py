"""Three sample runs, made by the same code as real ones: calls through the sessionizer, flags and explanations.

For demos, tests, and a look at the debugger before the first request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from watchllm_proxy.enrich.flags import find_flags
from watchllm_proxy.insights.explain import explain
from watchllm_proxy.insights.sample_calls import SampleAgent
from watchllm_proxy.records import Call, CallError, Explanation, Flag, Run, Step
from watchllm_proxy.sessionize import Sessionizer

SILENCE_US = 600 * 1_000_000

Fixture = tuple[Run, tuple[Step, ...], tuple[Flag, ...], tuple[Explanation, ...]]


@lru_cache(maxsize=3)
def fixture(name: str) -> Fixture:
    """Raises KeyError for a name that is not in `NAMES`."""
    return recorded(_TELL[name]())


def recorded(calls: Sequence[Call]) -> Fixture:
    """What the recorder would store of calls that make one run."""
    sessionizer = Sessionizer(silence_us=SILENCE_US)
    for call in calls:
        sessionizer.observe(call, call.ended_at_us)
    sessionizer.tick(calls[-1].ended_at_us + 2 * SILENCE_US)
    changes = sessionizer.drain()
    (run,) = changes.runs
    steps = changes.all_steps[run.project_id, run.run_id]
    flags = find_flags(run, steps)
    return run, steps, flags, explain(run, steps, flags)


def _normal() -> list[Call]:
    agent = SampleAgent(
        "sample-normal",
        "order-assistant",
        "You are order-assistant. Answer questions about orders; look them up first.",
        ("order_lookup", "shipping_status"),
        model="openai/gpt-4o-mini",
    )
    agent.user("Where is my order?")
    agent.asks(("order_lookup", {"user_id": "user-123"}), took_ms=640, tokens=(212, 18), usd="0.0000426")
    agent.results('{"order_id": 789, "status": "shipped", "carrier": "DHL"}', took_ms=120)
    agent.asks(("shipping_status", {"order_id": 789}), took_ms=580, tokens=(268, 16), usd="0.0000498")
    agent.results('{"eta": "2026-01-16", "last_seen": "Leipzig"}', took_ms=340)
    agent.answers(
        "Your order #789 was shipped and is in Leipzig now; it should arrive tomorrow.",
        took_ms=910,
        tokens=(311, 24),
        usd="0.0000611",
    )
    return agent.calls


def _loop() -> list[Call]:
    agent = SampleAgent(
        "sample-loop",
        "refund-assistant",
        "You are refund-assistant. Find the order, then create the refund.",
        ("order_lookup", "create_refund"),
        model="openai/gpt-4o-mini",
    )
    agent.user("Refund my last order, please. It came broken.")
    agent.asks(("order_lookup", {"email": "sam@example.com"}), took_ms=700, tokens=(240, 19), usd="0.0000474")
    agent.results("[]", took_ms=90)
    agent.fails(CallError("rate_limit_error", "Rate limit reached."), status=429, took_ms=210, waits_ms=1500)
    for attempt in range(3):
        tokens = (281 + 42 * attempt, 19)
        agent.asks(("order_lookup", {"email": "sam@example.com"}), took_ms=690, tokens=tokens, usd="0.0000536")
        agent.results("[]", took_ms=85)
    agent.answers(
        "I could not find an order under that address. Do you have the order number?",
        took_ms=820,
        tokens=(407, 21),
        usd="0.0000737",
    )
    return agent.calls


def _high_cost() -> list[Call]:
    agent = SampleAgent(
        "sample-high-cost",
        "report-writer",
        "You are report-writer. Read the documents that are asked about and summarise them.",
        ("list_documents", "read_document"),
        model="openai/gpt-4o",
    )
    agent.user("Summarise all contracts that end this year.")
    agent.asks(("list_documents", {"folder": "contracts"}), took_ms=820, tokens=(230, 17), usd="0.0007450")
    agent.results('["acme.pdf", "globex.pdf"]', took_ms=60)
    agent.asks(
        ("read_document", {"name": "acme.pdf"}),
        ("read_document", {"name": "globex.pdf"}),
        took_ms=900,
        tokens=(262, 41),
        usd="0.0010650",
    )
    agent.results("Contract with ACME. " * 2000, "Contract with Globex. " * 3000, took_ms=450)
    agent.asks(
        ("list_documents", {"folder": "contracts/annexes"}), took_ms=5200, tokens=(61_480, 22), usd="0.1539200"
    )
    agent.results("[]", took_ms=55)
    agent.answers(
        "Two contracts end this year: ACME on 2026-03-31 and Globex on 2026-09-30. Neither has an annex.",
        took_ms=6100,
        tokens=(61_530, 420),
        cached=61_440,
        usd="0.0812250",
    )
    return agent.calls


_TELL: dict[str, Callable[[], list[Call]]] = {"normal": _normal, "loop": _loop, "high-cost": _high_cost}
NAMES = tuple(_TELL)
