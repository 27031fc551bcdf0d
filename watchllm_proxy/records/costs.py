"""Usage and Cost: what a call used, what that cost, and who says so, be it told late."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from uuid import UUID, uuid5

from watchllm_proxy.records.frozen import record


@record
class Usage:
    """Token counts in OpenTelemetry GenAI words. `input_tokens` includes cached ones in every dialect."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    reasoning_tokens: int | None = None
    is_estimated: bool = False  # counted by us, not told by the upstream
    cost_usd: Decimal | None = None  # the upstream's own figure, if it gave one


class CostSource(StrEnum):
    UPSTREAM = "upstream"  # told with the answer
    GENERATION = "generation"  # told afterwards, when the upstream was asked for a broken answer's cost
    OVERRIDE = "override"  # the project's own prices
    PRICE_TABLE = "price_table"
    UNKNOWN = "unknown"

    @property
    def is_told(self) -> bool:
        """It is the upstream's figure: no price of ours ever changes it."""
        return self in {CostSource.UPSTREAM, CostSource.GENERATION}


@record
class Cost:
    """What a call cost. `usd` is None where it is not known, and `source` says so."""

    usd: Decimal | None
    source: CostSource
    price_provider: str | None = None  # whose price list
    price_date: str | None = None  # its date or version, ISO


UNKNOWN_COST = Cost(None, CostSource.UNKNOWN)

SETTLES_HEADER = "x-watchllm-settles"
"""Of the captured exchange in which the proxy asked what a broken call cost: which call. Never sent anywhere."""

_SETTLEMENTS = UUID("5b0c8f0e-3a53-5c0e-9d53-2f5d1a3c7c11")


def settlement_id(call_id: UUID) -> UUID:
    """Id of that exchange. Clients' exchanges get random ids: none can pass for it."""
    return uuid5(_SETTLEMENTS, str(call_id))


@record
class Settlement:
    """What the upstream told afterwards of a call whose answer broke. `usage.cost_usd` is there."""

    project_id: str
    call_id: UUID
    usage: Usage

    @property
    def cost(self) -> Cost:
        return Cost(self.usage.cost_usd, CostSource.GENERATION)
