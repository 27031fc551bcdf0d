"""What a project's calls cost, by model, agent, version or day.

From the figures by the hour where they are up to date, and from the calls themselves for the hours that changed
since (decision 0136): so the answer counts every stored call, and reads few of them. Versions are not among the
figures: they are told by the calls, as far back as those are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from watchllm_proxy.store.call_shapes import Stored
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.sql import queries

MAX_GROUPS = 1000
"""Groups that an answer holds, the dearest; what the others cost is in its days and its total all the same."""


class CostBy(StrEnum):
    """What costs are told apart by."""

    MODEL = "model"
    AGENT = "agent"
    VERSION = "version"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class CostGroup:
    """What some calls cost together. `name`: None where it was not told."""

    name: str | None
    cost_usd: Decimal  # of the priced calls
    unpriced_calls: int
    calls: int | None = None  # None here and below: not known
    failed_calls: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None

    @property
    def known_cost_usd(self) -> Decimal | None:
        """None: not one of its calls has a price, as far as is known."""
        has_priced = self.calls is not None and self.calls > self.unpriced_calls
        return None if self.unpriced_calls and not self.cost_usd and not has_priced else self.cost_usd


_KEYS: Mapping[CostBy, str] = {
    CostBy.MODEL: "request_model",
    CostBy.AGENT: "agent_name",
    CostBy.VERSION: "concat(ifNull(agent_name, 'unnamed agent'), ' ', agent_version)",
    CostBy.DAY: "toString(day)",
}


async def cost_groups(
    events: AsyncEventStore, project_id: str, by: CostBy, *, from_us: int, to_us: int
) -> Sequence[CostGroup]:
    """Of the calls that began within [from_us, to_us), whole hours; the dearest first, days in order."""
    named = queries("clickhouse")
    source = named["costs_of_calls" if by is CostBy.VERSION else "costs_of_hours"]
    sql = named["cost_groups"].replace("/*source*/", source).replace("/*key*/", _KEYS[by])
    sql = sql.replace("/*order*/", "name" if by is CostBy.DAY else "cost DESC, name")
    params: dict[str, str | int] = {
        "project_id": project_id,
        "from_s": from_us // 1_000_000,
        "to_s": to_us // 1_000_000,
        "limit": MAX_GROUPS,
    }
    found: Sequence[Stored] = await events.query(sql, params)
    return [_group(row) for row in found]


def _group(row: Stored) -> CostGroup:
    return CostGroup(
        name=row["name"],
        cost_usd=Decimal(row["cost_usd"]),
        unpriced_calls=int(row["unpriced_calls"]),
        calls=int(row["calls"]),
        failed_calls=int(row["failed_calls"]),
        input_tokens=int(row["input_tokens"]),
        output_tokens=int(row["output_tokens"]),
        cache_read_input_tokens=int(row["cache_read_input_tokens"]),
    )
