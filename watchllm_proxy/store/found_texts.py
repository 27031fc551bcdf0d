"""Where a text stands in the requests and answers of a run. ClickHouse looks for it; no body travels here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from watchllm_proxy.store.call_shapes import Stored, text
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.sent_calls import HASHES_AT_ONCE, MAX_MESSAGES_SENT
from watchllm_proxy.store.sql import queries

_DEEPEST = 3
"""Arguments are JSON in a string of a message, and what they hold may be JSON in a string once more."""

_STRUCTURE = (
    '"role" "content" "type" "text" "function" "arguments" "name" "id" "tool_calls" "tool_call_id" "tool_use" '
    '"tool_result" "tool_use_id" "input_text" "output_text" "function_call" "function_call_output" "call_id" '
    '"assistant" "user" "system" "developer" "tool" "index" "status" "completed" "message" "refusal" "input" '
    '"output" "summary" "reasoning" "annotations" "parameters" "properties" "description" "required" "object"'
)
"""Words that stand in messages without anybody having said them: these are looked for beside names of fields."""


@dataclass(frozen=True, slots=True)
class FoundText:
    """A message with the text, at the call that brought it up: in its request, or (`is_answer`) its answer."""

    call_id: UUID
    role: str
    is_answer: bool = False
    tool_call_ids: tuple[str, ...] = ()  # whose results the message brings


@dataclass(frozen=True, slots=True)
class _Sent:
    call_id: UUID
    day: str
    new_hashes: Sequence[str]
    answer_hash: str | None


async def found_texts(
    events: AsyncEventStore, project_id: str, run_id: str, wanted: str, *, span: tuple[int, int]
) -> tuple[FoundText, ...] | None:
    """In calls that began within [start, end) of `span`, in their order; upper and lower case are the same.

    None: the run is too long for this. Raises `StoreUnavailable`.
    """
    params: dict[str, str | int] = {
        "project_id": project_id,
        "run_id": run_id,
        "from_us": span[0],
        "to_us": span[1],
    }
    (row,) = await events.query(queries("clickhouse")["messages_sent"], params)
    if int(str(row["messages"])) > MAX_MESSAGES_SENT:
        return None
    rows: Sequence[Stored] = await events.query(queries("clickhouse")["messages_brought_up"], params)
    sent = [_Sent(UUID(row["call_id"]), row["day"], row["new_hashes"], row["answer_hash"] or None) for row in rows]
    holding = await _holding(events, project_id, wanted, sent)
    return tuple(_found(sent, holding))


async def _holding(
    events: AsyncEventStore, project_id: str, wanted: str, sent: Sequence[_Sent]
) -> dict[tuple[str, str], Mapping[str, Any]]:
    """The messages with the text, by day and hash: a call and its messages stand in one partition."""
    said = "plain_json" if not _is_structure(wanted) else "what_was_said"
    sql = queries("clickhouse")["messages_with_text"].replace("/*said*/", queries("clickhouse")[said])
    hashes: dict[str, set[str]] = {}
    for each in sent:
        hashes.setdefault(each.day, set()).update(each.new_hashes, [each.answer_hash] if each.answer_hash else [])
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for day, of_day in hashes.items():
        listed = sorted(of_day)
        for start in range(0, len(listed), HASHES_AT_ONCE):
            params: dict[str, str | list[str]] = {
                "project_id": project_id,
                "expires_on": day,
                "hashes": listed[start : start + HASHES_AT_ONCE],
                "spellings": spellings(wanted),
            }
            for row in await events.query(sql, params):
                found[day, str(row["content_hash"])] = row
    return found


def spellings(wanted: str) -> list[str]:
    """`wanted` as it may stand in JSON: as it is, and inside of strings."""
    found = [wanted]
    for _ in range(_DEEPEST):
        found.append(orjson.dumps(found[-1]).decode()[1:-1])
    return list(dict.fromkeys(found))


def _is_structure(wanted: str) -> bool:
    return wanted.lower() in _STRUCTURE


def _found(sent: Sequence[_Sent], holding: Mapping[tuple[str, str], Mapping[str, Any]]) -> Iterator[FoundText]:
    for each in sent:
        for content_hash in each.new_hashes:
            row = holding.get((each.day, content_hash))
            if row is not None:
                tool_call_ids = tuple(text(one) for one in row["tool_call_ids"])
                yield FoundText(each.call_id, text(row["role"]), tool_call_ids=tool_call_ids)
        if each.answer_hash and (each.day, each.answer_hash) in holding:
            yield FoundText(each.call_id, "assistant", is_answer=True)
