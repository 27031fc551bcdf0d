"""Asked again and again: JSON says by an ETag whether it is still the same, and is then not sent anew."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import blake2b

from aiohttp import ETag, web

TAG_BYTES = 16


@web.middleware
async def unchanged_is_304(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Of every JSON that is got, whoever asks: a new address has it too.

    It saves the way, not the questions to the stores. Nothing is left in caches (`no-store`), so whoever asks
    again keeps the tag, and what it stands for.
    """
    answer = await handler(request)
    said = _json_of(answer) if request.method in {"GET", "HEAD"} else None
    if said is None:
        return answer
    tag = blake2b(said, digest_size=TAG_BYTES).hexdigest()
    answer.etag = ETag(tag, is_weak=True)  # compressed or not, it says the same
    if any(held.value in {tag, "*"} for held in request.if_none_match or ()):
        return web.Response(status=304, headers={"ETag": answer.headers["ETag"]})
    return answer


def _json_of(answer: web.StreamResponse) -> bytes | None:
    """The whole of it; None: it is something else, an error, or sent as it is read."""
    is_json = answer.status == 200 and answer.content_type == "application/json"
    body = answer.body if is_json and isinstance(answer, web.Response) else None
    return body if isinstance(body, bytes) else None
