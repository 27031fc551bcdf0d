"""From where on something is worth a look, and how much of that a project may choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Thresholds:
    loop_times: int = 3
    repeated_tool_times: int = 5
    high_cost_share: Decimal = Decimal("0.5")
    high_cost_min_priced_steps: int = 4
    high_cost_share_floor_usd: Decimal = Decimal("0.01")
    high_cost_usd: Decimal = Decimal("0.50")
    high_cost_times: Decimal = Decimal(3)  # what this agent's dearest step usually costs, ...
    high_cost_mads: Decimal = Decimal(
        6
    )  # ... and so far beyond it that its runs do not differ so much by themselves
    high_cost_min_runs: int = 10
    high_cost_history_floor_usd: Decimal = Decimal("0.001")
    run_budget_usd: Decimal | None = None  # None: a run may cost what it costs
    cacheable_tokens: int = 1024  # providers cache no shorter prompt
    huge_output_chars: int = 40_000  # some 10,000 tokens
    unused_tools_tokens: int = 4_000  # of their schemas, in each request
    unused_tools_share: Decimal = Decimal("0.25")  # of all that the run read
    unused_tools_min_calls: int = 3
    slow_step_s: int = 60
    slow_step_times: int = 5  # as long as is usual in the run, where it does the same often enough
    slow_step_min_peers: int = 4


DEFAULT_THRESHOLDS = Thresholds()

CHOICES: Mapping[str, tuple[Decimal, Decimal, bool]] = {
    "loop_times": (Decimal(2), Decimal(1_000), True),
    "repeated_tool_times": (Decimal(2), Decimal(1_000), True),
    "high_cost_share": (Decimal("0.01"), Decimal(1), False),
    "high_cost_usd": (Decimal("0.000001"), Decimal(1_000_000), False),
    "high_cost_times": (Decimal("1.1"), Decimal(1_000), False),
    "run_budget_usd": (Decimal("0.000001"), Decimal(1_000_000), False),
    "huge_output_chars": (Decimal(1), Decimal(1_000_000_000), True),
    "slow_step_s": (Decimal(1), Decimal(86_400), True),
}
"""What a project may choose: from, to, and whether only a whole number will do."""


def is_choice(name: str, value: Decimal) -> bool:
    least, most, is_whole = CHOICES[name]
    return value.is_finite() and least <= value <= most and not (is_whole and value % 1)


def chosen(values: Mapping[str, Decimal]) -> Thresholds:
    """What a project chose; the rest is as for everybody."""
    if not values:
        return DEFAULT_THRESHOLDS
    exact = {name: int(value) if CHOICES[name][2] else value for name, value in values.items()}
    return replace(DEFAULT_THRESHOLDS, **exact)  # type: ignore[arg-type]
