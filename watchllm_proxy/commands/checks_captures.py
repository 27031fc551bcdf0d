"""Does the sum add up: what a log accepted is stored, in the log, or set aside, and nowhere twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from watchllm_proxy.accounting import Balance, balances, total
from watchllm_proxy.commands.findings import Finding, ok, problem, warning
from watchllm_proxy.commands.postgres_of import postgres_dsn
from watchllm_proxy.console.formats import count_of
from watchllm_proxy.errors import CaptureLogError, StoreError
from watchllm_proxy.settings import Settings
from watchllm_proxy.store.postgres import RunStore

AREA = "captures"


def check_captures(settings: Settings) -> Iterator[Finding]:
    """Nothing where no Postgres can be asked: that is another check's to tell."""
    dsn = postgres_dsn(settings)
    if dsn is None:
        return
    try:
        by_log = asyncio.run(_balances(dsn, settings))
    except (StoreError, CaptureLogError) as exc:
        yield warning(AREA, f"they cannot be counted: {exc}", "Ask again once the stores are well.")
        return
    yield from _findings(by_log)


async def _balances(dsn: str, settings: Settings) -> dict[str, Balance]:
    runs = await RunStore.open(dsn)
    try:
        return await balances(runs.pool, settings.capture_dir)
    finally:
        await runs.close()


def _findings(by_log: dict[str, Balance]) -> Iterator[Finding]:
    everything = total(by_log.values())
    for name, balance in by_log.items():
        if balance.missing:
            yield problem(
                AREA, f"{name} does not add up: {balance.in_words()}{_damage(balance)}", _advice(balance)
            )
        if balance.lost_logs:
            yield warning(
                AREA,
                f"the directory of {name} is gone or was made anew: what it held unstored cannot be counted",
                "Nothing to do where that was meant.",
            )
    if not everything.missing:
        yield ok(AREA, everything.in_words())
    if everything.dead_lettered:
        yield warning(
            AREA,
            f"{count_of(everything.set_aside, 'record')} could not be stored and were set aside",
            "watchllm dead list",
        )


def _damage(balance: Balance) -> str:
    damaged = balance.damaged_stretches
    return f"; {count_of(damaged, 'damaged stretch', 'damaged stretches')} stepped over" if damaged else ""


def _advice(balance: Balance) -> str:
    if balance.missing < 0:
        return "More is stored than was accepted: the directory was restored or made anew, or it is a bug of ours."
    if balance.damaged_stretches:
        return "The disk damaged the log, or somebody wrote to it: look at the disk."
    return "Captures were lost, which is a bug of ours: please report it, with this line."
