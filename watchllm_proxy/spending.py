"""What the calls of a batch cost, by project, day and key: what caps on money are held against. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from watchllm_proxy.grants import KEY_ID_HEADER
from watchllm_proxy.records import Api, Call, Exchange, Settlement
from watchllm_proxy.store.usage import Spending, Spent, ToldLater

_KEY_ID = KEY_ID_HEADER.lower()


def spending_of(calls: Iterable[tuple[Exchange | None, Call]], settlements: Sequence[Settlement]) -> Spending:
    """`settlements`: costs told afterwards, of calls of this batch or of earlier ones."""
    told = {each.call_id: each for each in settlements}
    spent = []
    for exchange, call in calls:
        settled = told.pop(call.call_id, None)
        cost_usd = call.cost.usd if settled is None else settled.usage.cost_usd
        if cost_usd is None and call.api is Api.OTHER:
            continue  # /v1/models and the like: nothing that has a price
        day = datetime.fromtimestamp(call.started_at_us / 1e6, UTC).date()
        key_id = "" if exchange is None else _key_id(exchange)
        if cost_usd is None:
            spent.append(Spent(call.project_id, day, key_id, Decimal(0), 0, 1))
        else:
            spent.append(Spent(call.project_id, day, key_id, cost_usd, 1, 0))
    later = tuple(
        ToldLater(each.project_id, each.call_id, each.usage.cost_usd)
        for each in told.values()
        if each.usage.cost_usd is not None
    )
    return Spending(tuple(spent), later)


def _key_id(exchange: Exchange) -> str:
    """The proxy writes it last: one that a client sent stands before it."""
    return next((value for name, value in reversed(exchange.request_headers) if name.lower() == _KEY_ID), "")
