"""The page of what a project pays for models: a table, and a form. No script."""

from __future__ import annotations

from aiohttp import web

from watchllm_proxy.console import prices
from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.context import may, now_us
from watchllm_proxy.console.forms import form_fields
from watchllm_proxy.console.html import render
from watchllm_proxy.enrich.price_lists import PER_MILLION, Rate
from watchllm_proxy.grants import Scope

WORDS = {
    Rate.INPUT: "input",
    Rate.OUTPUT: "output",
    Rate.CACHE_READ: "input read from the cache",
    Rate.CACHE_WRITE: "input written to the cache",
    Rate.CACHE_WRITE_1H: "the same for an hour",
    Rate.REASONING: "reasoning",
    Rate.INPUT_AUDIO: "sound read",
    Rate.OUTPUT_AUDIO: "sound written",
    Rate.INPUT_IMAGE: "pictures read",
    Rate.OUTPUT_IMAGE: "pictures written",
    Rate.WEB_SEARCH: "a web search",
    Rate.CALL: "a call",
}


async def prices_page(request: web.Request) -> web.Response:
    return await _page(request)


async def prices_form(request: web.Request) -> web.Response:
    """Set one, or remove one: by the button that was pressed."""
    fields = await form_fields(request)
    try:
        if "remove" in fields:
            await prices.remove_price(request, fields["remove"])
            return await _page(request, done=f"{fields['remove']} costs what the lists say again.")
        told = {rate.value: text for rate in Rate if (text := str(fields.get(rate.value, "")).strip())}
        found = await prices.set_price(request, fields.get("model"), told)
    except Problem as exc:
        return await _page(request, problem=str(exc), written=dict(fields), status=exc.status)
    return await _page(request, done=f"{found.model} costs this from the next call on.")


async def _page(
    request: web.Request,
    *,
    done: str | None = None,
    problem: str | None = None,
    written: dict[str, str] | None = None,
    status: int = 200,
) -> web.Response:
    return render(
        request,
        "prices.html",
        status=status,
        nav="prices",
        rows=await prices.overrides(request),
        lists=await prices.lists(request),
        words={rate.value: text for rate, text in WORDS.items()},
        per_million={rate.value for rate in PER_MILLION},
        written=written or {},
        done=done,
        problem=problem,
        now=now_us(),
        may_change=may(request, Scope.ADMIN),
        max_model=prices.MAX_MODEL_CHARACTERS,
    )
