"""The page of what a project has taken out of its calls: a form, and a box to try it on a text. No script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiohttp import web

from watchllm_proxy.console import redaction
from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.context import may
from watchllm_proxy.console.forms import form_fields
from watchllm_proxy.console.html import render
from watchllm_proxy.console.labels import redaction_note
from watchllm_proxy.console.redaction import Tried, Wishes
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.enrich.redaction.own import MAX_RULES, OwnRule
from watchllm_proxy.grants import Scope

EXAMPLE = "Mail bob@example.com or call +49 30 901820. The key is sk-or-v1-0123456789abcdef0123456789abcdef."
_MODES = {
    RedactionMode.ALL: "credentials and personal data",
    RedactionMode.SECRETS: "credentials only",
    RedactionMode.OFF: "nothing",
}


async def redaction_page(request: web.Request) -> web.Response:
    return _page(request, await redaction.wishes(request), text=EXAMPLE)


async def redaction_form(request: web.Request) -> web.Response:
    """Save it, or try it first: the same form, by the button that was pressed."""
    fields = await form_fields(request)
    before = await redaction.wishes(request)
    text = str(fields.get("text", ""))
    tried: Tried | None = None
    try:
        wanted = redaction.wishes_of(_as_json(fields), before)
        if "try" in fields:
            tried = await redaction.tried(request, text, wanted)
        else:
            await redaction.change(request, wanted)
    except Problem as exc:
        written = str(fields.get("rules", ""))
        return _page(request, before, text=text, written=written, problem=str(exc), status=exc.status)
    return _page(request, wanted, text=text, tried=tried, is_saved="try" not in fields)


def _as_json(fields: Mapping[str, object]) -> dict[str, object]:
    """A form says nothing of a box that is not ticked, and "" for the default."""
    return {
        "mode": fields.get("mode") or None,
        "store_content": "no_content" not in fields,
        "rules": _read(str(fields.get("rules", ""))),
    }


def _read(written: str) -> list[dict[str, str]]:
    """A rule a line: its name, a space, its pattern."""
    lines = [line.strip().partition(" ") for line in written.splitlines()]
    return [{"name": name, "pattern": pattern.strip()} for name, _, pattern in lines if name]


def _write(rules: Sequence[OwnRule]) -> str:
    return "\n".join(f"{rule.name} {rule.pattern}" for rule in rules)


def _page(
    request: web.Request,
    wishes: Wishes,
    *,
    text: str,
    written: str | None = None,
    tried: Tried | None = None,
    problem: str | None = None,
    is_saved: bool = False,
    status: int = 200,
) -> web.Response:
    return render(
        request,
        "redaction.html",
        status=status,
        nav="redaction",
        wishes=wishes,
        modes=_MODES,
        default=_MODES[redaction.default_mode(request)],
        written=_write(wishes.rules) if written is None else written,
        text=text,
        tried=tried,
        note=None if tried is None else redaction_note(tried.redacted) or "nothing was taken out",
        problem=problem,
        is_saved=is_saved,
        may_change=may(request, Scope.ADMIN),
        max_rules=MAX_RULES,
        max_characters=redaction.MAX_TRIED_CHARACTERS,
    )
