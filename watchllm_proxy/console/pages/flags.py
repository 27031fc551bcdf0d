"""The page of what is pointed out, and from where on: a form of the project's thresholds. No script."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from watchllm_proxy.console import account
from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.context import ACCOUNTS, may, project_of
from watchllm_proxy.console.forms import form_fields
from watchllm_proxy.console.html import render
from watchllm_proxy.console.labels import threshold_label
from watchllm_proxy.enrich.flags import DEFAULT_THRESHOLDS
from watchllm_proxy.enrich.flags.thresholds import CHOICES
from watchllm_proxy.grants import Scope


@dataclass(frozen=True, slots=True)
class Threshold:
    """A row of the form. `own` is empty where what holds for all holds here."""

    name: str
    label: str
    for_all: str
    own: str


async def flags_page(request: web.Request) -> web.Response:
    return await _page(request)


async def flags_form(request: web.Request) -> web.Response:
    """All at once: one that is left empty is as for all."""
    fields = await form_fields(request)
    written = {name: text for name in CHOICES if (text := str(fields.get(name, "")).strip())}
    try:
        wanted = {name: _number(text) for name, text in written.items()}
        await account.change(request, project_of(request), {"flag_thresholds": wanted})
    except Problem as exc:
        return await _page(request, problem=str(exc), written=written, status=exc.status)
    raise web.HTTPSeeOther("/settings/flags")


def _number(text: str) -> object:
    """As JSON would have it; what is no number stays a text, and is refused as one."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


async def _page(
    request: web.Request,
    *,
    problem: str | None = None,
    written: dict[str, str] | None = None,
    status: int = 200,
) -> web.Response:
    settings = await request.app[ACCOUNTS].settings(project_of(request))
    own = {} if settings is None else {name: f"{value.normalize():f}" for name, value in settings.flag_thresholds}
    shown = own if written is None else written
    return render(
        request,
        "flags.html",
        status=status,
        nav="flags",
        thresholds=[
            Threshold(name, threshold_label(name), _for_all(name), shown.get(name, "")) for name in CHOICES
        ],
        problem=problem,
        may_change=settings is not None and may(request, Scope.ADMIN),
    )


def _for_all(name: str) -> str:
    value: object = getattr(DEFAULT_THRESHOLDS, name)
    return "none" if value is None else f"{value:,}"
