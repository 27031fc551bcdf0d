"""`watchllm prices list|set|remove|update`: what a project pays for a model, and lists newer than the release.

They ask Postgres and not the running server; a recorder takes a change up within seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from watchllm_proxy.commands import options
from watchllm_proxy.commands.api_client import CommandFailed, ExitStatus, NotFound
from watchllm_proxy.commands.terminal import Column, Terminal, clean, errors_told, table
from watchllm_proxy.console import formats
from watchllm_proxy.console.formats import count_of
from watchllm_proxy.records import DEFAULT_PROJECT_ID

if TYPE_CHECKING:  # what needs the drivers is imported late: `--help` need not wait for them
    import asyncpg

    from watchllm_proxy.store.prices import StoredList, StoredOverride

COLUMNS = (Column("MODEL"), Column("SET"), Column("US DOLLARS A MILLION TOKENS (call, web_search: EACH)"))

Project = Annotated[str, typer.Option("--project", "-p", help="The project that pays them.")]
Model = Annotated[str, typer.Argument(help="Its name as calls have it, in any case.")]

prices = typer.Typer(
    name="prices", help="What models cost: a project's own prices, newer lists.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(prices)


@prices.command("list")
def list_prices(*, project: Project = DEFAULT_PROJECT_ID, as_json: options.Json = False) -> None:
    """List the prices that a project has set, and which lists were fetched."""
    with errors_told("/settings/prices", is_data=as_json):
        from watchllm_proxy.commands import key_work  # noqa: PLC0415
        from watchllm_proxy.store import prices as stored  # noqa: PLC0415

        async def ask(pool: asyncpg.Pool) -> tuple[list[StoredOverride], list[StoredList]]:
            await key_work.must_exist(pool, project)
            return await stored.overrides_of(pool, project), await stored.lists(pool)

        terminal = Terminal()
        overrides, lists = key_work.asked(ask)
        if as_json:
            terminal.json(
                {"prices": [_dated(asdict(each)) for each in overrides], "lists": list(map(_counted, lists))}
            )
            return
        if not overrides:
            terminal.say(f"Project {project} has set no price. `watchllm prices set MODEL input=… output=…` does.")
        else:
            for line in table(COLUMNS, [_cells(each) for each in overrides]):
                terminal.line(line)
        for each in lists:
            when = formats.ago(each.fetched_at_us, _now_us())
            terminal.say(
                f"{clean(each.provider)}: {count_of(len(each.models), 'model')} of {clean(each.source)}, {when}."
            )


@prices.command("set")
def set_price(
    model: Model,
    rates: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=USD...",
            help="input=0.15 output=0.60 cache_read=0.075: a million tokens; call=, web_search=: each.",
        ),
    ],
    project: Project = DEFAULT_PROJECT_ID,
) -> None:
    """Set what a model costs, in place of all that was set for it before.

    Holds for calls from now on; `watchllm replay --from` prices stored ones again. What an upstream says that a
    call cost always comes first.
    """
    with errors_told("/settings/prices"):
        from watchllm_proxy.commands import key_work  # noqa: PLC0415
        from watchllm_proxy.enrich.price_lists import read_prices, written_prices  # noqa: PLC0415
        from watchllm_proxy.store import prices as stored  # noqa: PLC0415

        try:
            written = written_prices(read_prices(_pairs(rates)))
        except ValueError as exc:
            raise CommandFailed(f"{exc}.", ExitStatus.USAGE) from exc
        if key_work.asked(lambda pool: stored.set_override(pool, project, model, written)) is None:
            raise NotFound(f"there is no project {clean(project)!r}")
        Terminal().say(f"{clean(model)} costs {_told(written)} in project {project}, from the next call on.")


@prices.command("remove")
def remove_price(model: Model, project: Project = DEFAULT_PROJECT_ID) -> None:
    """Forget what a project set for a model: the lists hold again."""
    with errors_told("/settings/prices"):
        from watchllm_proxy.commands import key_work  # noqa: PLC0415
        from watchllm_proxy.store import prices as stored  # noqa: PLC0415

        if not key_work.asked(lambda pool: stored.remove_override(pool, project, model)):
            raise NotFound(f"project {clean(project)!r} has set no price for {clean(model)!r}")
        Terminal().say(f"{clean(model)} costs what the lists say again, from the next call on.")


@prices.command("update")
def update_prices(
    source: Annotated[str, typer.Argument(metavar="FILE|URL", help="JSON as OpenRouter's /api/v1/models has it.")],
) -> None:
    """Take a newer list of OpenRouter's prices, in place of the one that came with this release."""
    with errors_told("/settings/prices"):
        from watchllm_proxy import price_updates  # noqa: PLC0415
        from watchllm_proxy.commands import key_work  # noqa: PLC0415

        models = key_work.asked(lambda pool: price_updates.update(pool, source))
        Terminal().say(f"Prices of {count_of(models, 'model')} taken.")


def _pairs(rates: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for each in rates:
        name, equals, usd = each.partition("=")
        if not equals or name in pairs:
            raise ValueError(f"give each price once, as NAME=USD, not {each!r}")
        pairs[name] = usd
    return pairs


def _told(prices_of_it: Mapping[str, object]) -> str:
    return "  ".join(f"{name}={usd}" for name, usd in prices_of_it.items())


def _cells(override: StoredOverride) -> tuple[Text, ...]:
    set_at = formats.ago(override.set_at_us, _now_us())
    return Text(clean(override.model)), Text(set_at), Text(clean(_told(override.prices)))


def _dated(row: dict[str, object]) -> dict[str, object]:
    at_us = row.pop("set_at_us")
    return {**row, "set_at": formats.instant(at_us) if isinstance(at_us, int) else None}


def _counted(each: StoredList) -> dict[str, object]:
    return {
        "provider": each.provider,
        "models": len(each.models),
        "source": each.source,
        "fetched_at": formats.instant(each.fetched_at_us),
    }


def _now_us() -> int:
    return round(datetime.now(UTC).timestamp() * 1e6)
