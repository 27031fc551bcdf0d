"""Calls of ClickHouse with the messages of their requests and answers: one, or those of a run for an export."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence, Set
from uuid import UUID

from watchllm_proxy.store.call_shapes import Stored, as_bytes
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.event_rows import LAST_INSTANT_US
from watchllm_proxy.store.retention import DAY_US
from watchllm_proxy.store.sql import queries

TEXT_BYTES_AT_ONCE = 4 * 1024 * 1024
"""Of requests and answers whose messages are read at once. They share most of them, so it is rarely as much."""

Contents = Mapping[str, bytes]
"""The JSON of messages by their hashes."""


async def rows_of(events: AsyncEventStore, project_id: str, call_ids: Sequence[UUID]) -> dict[UUID, Stored]:
    """Of those that are there. By the days that their ids name, if they name any: else the index of every part is
    to be looked through. What was reported or brought in may have begun at any time, whatever its id says."""
    rows: dict[UUID, Stored] = {}
    for from_us, to_us in (*_days_of(call_ids), (0, LAST_INSTANT_US + 1)):
        wanted = [str(each) for each in call_ids if each not in rows]
        if not wanted:
            break
        params: dict[str, str | int | list[str]] = {
            "project_id": project_id,
            "call_ids": wanted,
            "from_us": from_us,
            "to_us": to_us,
        }
        found: Sequence[Stored] = await events.query(queries("clickhouse")["get_calls"], params)
        rows.update((UUID(row["call_id"]), row) for row in found)
    return rows


async def with_contents(
    events: AsyncEventStore, project_id: str, call_ids: Sequence[UUID], rows: Mapping[UUID, Stored]
) -> AsyncIterator[tuple[UUID, Stored | None, Contents]]:
    """Each call in order with its row and, among others, the messages that it holds."""
    for some in _cut(call_ids, rows):
        contents = await _contents(events, project_id, [rows[each] for each in some if each in rows])
        for call_id in some:
            row = rows.get(call_id)
            yield call_id, row, {} if row is None else contents.get(str(row["expires_on"]), {})


def _cut(call_ids: Sequence[UUID], rows: Mapping[UUID, Stored]) -> Iterator[list[UUID]]:
    """Calls whose messages may be in memory together; one that is larger is alone."""
    some: list[UUID] = []
    size_bytes = 0
    for call_id in call_ids:
        row = rows.get(call_id)
        of_call = 0 if row is None else row["request_bytes"] + row["response_bytes"]
        if some and size_bytes + of_call > TEXT_BYTES_AT_ONCE:
            yield some
            some, size_bytes = [], 0
        some.append(call_id)
        size_bytes += of_call
    if some:
        yield some


def hashes_of(row: Stored, *, without: Set[int] = frozenset()) -> list[str]:
    """Of its messages, without those at some places, and of its answer; each once, in order."""
    answer = [row["answer_hash"]] if row["has_answer"] else []
    messages = [each for place, each in enumerate(row["message_hashes"]) if place not in without]
    return list(dict.fromkeys([*messages, *answer]))


async def contents_of(events: AsyncEventStore, project_id: str, row: Stored, *, without: Set[int]) -> Contents:
    """Of its messages without those at some places."""
    return await _read(events, project_id, str(row["expires_on"]), hashes_of(row, without=without))


async def _contents(events: AsyncEventStore, project_id: str, rows: Sequence[Stored]) -> dict[str, Contents]:
    """By the day of their partition: a call and its messages are of one."""
    wanted: dict[str, set[str]] = {}
    for row in rows:
        wanted.setdefault(str(row["expires_on"]), set()).update(hashes_of(row))
    return {day: await _read(events, project_id, day, hashes) for day, hashes in wanted.items()}


async def _read(events: AsyncEventStore, project_id: str, day: str, hashes: Collection[str]) -> Contents:
    if not hashes:
        return {}
    params: dict[str, str | list[str]] = {
        "project_id": project_id,
        "expires_on": day,
        "hashes": sorted(hashes),
    }
    found: Sequence[Stored] = await events.query(queries("clickhouse")["message_contents"], params)
    return {each["content_hash"]: as_bytes(each["content"]) for each in found}


def _days_of(call_ids: Sequence[UUID]) -> list[tuple[int, int]]:
    """From when to when calls with these ids began in all likelihood: a UUIDv7 tells when it was made."""
    made = [min((each.int >> 80) * 1000, LAST_INSTANT_US) for each in call_ids if each.version == 7]
    return [(min(made) - DAY_US, max(made) + DAY_US)] if made else []
