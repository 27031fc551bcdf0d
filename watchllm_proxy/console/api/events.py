"""`POST /v1/events/query`: reported events of the key's project, and of no other."""

from __future__ import annotations

from aiohttp import web

from watchllm_proxy.console.answers import Problem, json_answer
from watchllm_proxy.console.api.told import event_of
from watchllm_proxy.console.context import REDACTION, project_of, reading_of
from watchllm_proxy.ingest.reading import Unfit
from watchllm_proxy.ingest.searching import EventQuery, at_us, read_cursor, read_query, written_cursor
from watchllm_proxy.ingest.tellings import fields_of
from watchllm_proxy.store.reported_reading import EventFilter, FoundEvent


async def query_events(request: web.Request) -> web.Response:
    """`cursor` of an answer leads to the next page, however many events come meanwhile."""
    if request.content_type != "application/json":
        raise Problem(415, "unsupported_media_type", "Send a JSON object, with Content-Type: application/json.")
    try:
        query = read_query(await request.read())
        wanted = await _filter(request, query)
    except Unfit as exc:
        raise Problem(exc.status, exc.code, str(exc), exc.param) from None
    project_id = project_of(request)
    found = await reading_of(request).search_events(project_id, wanted)
    last = found.events[-1] if found.events and found.has_more else None
    answer = json_answer(
        {
            "events": [_event(each, project_id) for each in found.events],
            "total": found.total,
            "has_more": found.has_more,
            "cursor": None if last is None else written_cursor(query, last.place, last.event_id),
        }
    )
    answer.enable_compression()
    return answer


async def _filter(request: web.Request, query: EventQuery) -> EventFilter:
    """Texts as they are stored: an address is found by its tag."""
    project_id, desk = project_of(request), request.app[REDACTION]

    async def stored(text: str | None) -> str:
        return await desk.as_stored(project_id, text) if text else ""

    cursor = read_cursor(query)
    user_ids = [query.user_id, await stored(query.user_id)] if query.user_id else []
    return EventFilter(
        run_id=await stored(query.run_id),
        user_ids=tuple(dict.fromkeys(user_ids)),
        event_types=tuple(query.event_types),
        statuses=tuple(query.statuses),
        models=tuple(query.models),
        tags=tuple(query.tags),
        from_us=at_us(query.date_from, 0),
        to_us=at_us(query.date_to, 2**62),
        text=await stored(query.text_search),
        sort_by=query.sort_by,
        order=query.sort_order,
        after=None if cursor is None else (cursor.value, cursor.event_id),
        limit=query.limit,
        offset=query.offset,
    )


def _event(found: FoundEvent, project_id: str) -> dict[str, object]:
    """As told, with what it cost: told, or by the price table."""
    return {
        **event_of(fields_of(found.body)),
        "project_id": project_id,
        "cost_usd": found.cost_usd,
        "cost_source": found.cost_source,
    }
