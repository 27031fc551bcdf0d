"""`GET` and `PATCH /api/redaction`, `POST /api/redaction/try`: what a project has taken out of its calls."""

from __future__ import annotations

from aiohttp import web

from watchllm_proxy.console import redaction
from watchllm_proxy.console.answers import Problem, json_answer
from watchllm_proxy.console.api.bodies import json_object
from watchllm_proxy.console.correcting import known_fields_only
from watchllm_proxy.console.redaction import Wishes


async def show_redaction(request: web.Request) -> web.Response:
    return _answer(request, await redaction.wishes(request))


async def change_redaction(request: web.Request) -> web.Response:
    """Fields that are left out stay as they are."""
    fields = await json_object(request)
    known_fields_only(fields, "mode", "store_content", "rules")
    wanted = redaction.wishes_of(fields, await redaction.wishes(request))
    return _answer(request, await redaction.change(request, wanted))


async def try_redaction(request: web.Request) -> web.Response:
    """Mode and rules as they are, but for those that are sent along."""
    fields = await json_object(request)
    known_fields_only(fields, "text", "mode", "rules")
    text = fields.get("text")
    if not isinstance(text, str):
        raise Problem(422, "invalid_parameter", "text is missing, or is no text.", "text")
    wanted = redaction.wishes_of(fields, await redaction.wishes(request))
    tried = await redaction.tried(request, text, wanted)
    return json_answer({"text": tried.text, "redacted": dict(tried.redacted)})


def _answer(request: web.Request, wishes: Wishes) -> web.Response:
    return json_answer(
        {
            "redaction": {
                "mode": wishes.mode,
                "default_mode": redaction.default_mode(request),
                "store_content": wishes.store_content,
                "rules": [{"name": rule.name, "pattern": rule.pattern} for rule in wishes.rules],
            }
        }
    )
