"""What people send: the fields of a form of ours."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from multidict import MultiDict

from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.values import storable_fields

URLENCODED: Final = "application/x-www-form-urlencoded"


async def form_fields(request: web.Request) -> MultiDict[str]:
    """The fields in order, a name as often as it was sent. Raises `Problem` for a body of another type.

    No form of ours sends files, so `multipart/form-data` is another type too: its parser is not entered.
    """
    if request.content_type != URLENCODED and request.can_read_body:
        raise Problem(415, "unsupported_media_type", f"Send the fields of the form as {URLENCODED}.")
    try:
        fields = await request.post()
    except ValueError as exc:
        raise Problem(400, "invalid_form", f"These fields cannot be read: {exc}.") from None
    storable_fields(fields.items(), 422)
    return MultiDict((name, value) for name, value in fields.items() if isinstance(value, str))
