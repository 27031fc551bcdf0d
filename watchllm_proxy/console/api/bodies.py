"""What programs send: a JSON object, and nothing else."""

from __future__ import annotations

import json

from aiohttp import web

from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.values import storable_fields


async def json_object(request: web.Request) -> dict[str, object]:
    """Raises `Problem` for another type, for what is no object, and for texts that no store can hold."""
    if request.content_type != "application/json":
        raise Problem(415, "unsupported_media_type", "Send a JSON object, with Content-Type: application/json.")
    try:
        found = json.loads(await request.read())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Problem(400, "invalid_json", "The body must be a JSON object.")
    storable_fields(found.items(), 422)
    return found
