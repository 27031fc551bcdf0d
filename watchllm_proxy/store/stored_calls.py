"""Rows of `events` with their messages, in the order in which calls are thought about: for thinking again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from watchllm_proxy.records import Api, Call, Cost, CostSource, ExchangeEnd
from watchllm_proxy.store.call_shapes import Stored, as_bytes, error_of, text, usage_of
from watchllm_proxy.store.clickhouse import AsyncEventStore
from watchllm_proxy.store.shapes import StoredMessage
from watchllm_proxy.store.sql import queries

CALLS_AT_ONCE = 200

Place = tuple[str | None, str | None, str | None]
"""Run, session, parent run."""

_NO_HASH = bytes(16)


@dataclass(frozen=True, slots=True)
class StoredCall:
    """`call` has no messages, answer and ids yet: they are in `request`, `answer` and `client_ids`.

    `is_whole`: all that was there when it was thought about first is still there.
    """

    call: Call
    place: Place
    client_ids: tuple[tuple[str, str], ...]
    request: bytes | None
    answer: bytes | None
    is_whole: bool


class StoredCalls:
    """The calls of one project. Methods raise `StoreUnavailable`."""

    def __init__(
        self,
        events: AsyncEventStore,
        project_id: str,
        *,
        rebuild: Callable[[bytes, Sequence[StoredMessage]], bytes],
    ) -> None:
        """`rebuild`: the JSON of a request from its skeleton and messages; ValueError where they do not fit."""
        self._events = events
        self._project_id = project_id
        self._rebuild = rebuild
        self._sql = queries("clickhouse")

    async def count(self, from_us: int, to_us: int) -> int:
        params: dict[str, str | int] = {"project_id": self._project_id, "from_us": from_us, "to_us": to_us}
        (row,) = await self._events.query(self._sql["count_calls_between"], params)
        return int(str(row["rows"]))

    async def pages(self, from_us: int, to_us: int) -> AsyncIterator[list[StoredCall]]:
        """Those that ended within [from_us, to_us), in order."""
        after: dict[str, str | int] = {"after_us": -1, "after_id": ""}
        within: dict[str, str | int] = {
            "project_id": self._project_id,
            "from_us": from_us,
            "to_us": to_us,
            "limit": CALLS_AT_ONCE,
        }
        while rows := await self._events.query(self._sql["calls_in_order"], {**within, **after}):
            contents = await self._contents(rows)
            yield [self._stored(row, contents) for row in rows]
            after = {"after_us": int(str(rows[-1]["ended_at_us"])), "after_id": str(rows[-1]["call_id"])}

    async def _contents(self, rows: Sequence[Stored]) -> dict[tuple[str, str], bytes]:
        """By day and hash: a call and its messages stand in one partition."""
        wanted: dict[str, set[str]] = {}
        for row in rows:
            answer = [row["answer_hash"]] if row["has_answer"] else []
            wanted.setdefault(row["day"], set()).update(row["message_hashes"], answer)
        contents = {}
        for day, hashes in wanted.items():
            if not hashes:
                continue
            params: dict[str, str | list[str]] = {
                "project_id": self._project_id,
                "expires_on": day,
                "hashes": sorted(hashes),
            }
            for found in await self._events.query(self._sql["message_contents"], params):
                contents[day, str(found["content_hash"])] = as_bytes(found["content"])  # type: ignore[arg-type]
        return contents

    def _stored(self, row: Stored, contents: Mapping[tuple[str, str], bytes]) -> StoredCall:
        day = row["day"]
        messages = [contents.get((day, each)) for each in row["message_hashes"]]
        answer = contents.get((day, row["answer_hash"])) if row["has_answer"] else None
        request = self._request(row, messages)
        is_whole = (
            not row["is_content_refused"]
            and (request is not None or not row["request_skeleton"])
            and (answer is not None or not row["has_answer"])
        )
        client_ids = tuple((text(source), text(value)) for source, value in row["client_ids"].items())
        place = (row["run_id"], row["session_id"], row["parent_run_id"])
        return StoredCall(_call(self._project_id, row), place, client_ids, request, answer, is_whole)

    def _request(self, row: Stored, messages: Sequence[bytes | None]) -> bytes | None:
        slots = zip(row["message_slots"], messages, strict=True)
        kept = [StoredMessage(slot, content) for slot, content in slots if content is not None]
        if not row["request_skeleton"] or len(kept) < len(messages):
            return None
        try:
            return self._rebuild(as_bytes(row["request_skeleton"]), kept)
        except ValueError:
            return None


def _call(project_id: str, row: Stored) -> Call:
    request_hash = bytes.fromhex(row["request_hash"])
    return Call(
        call_id=UUID(row["call_id"]),
        project_id=project_id,
        api=Api(row["api"]),
        method=text(row["method"]),
        target=text(row["target"]),
        started_at_us=row["started_at_us"],
        ended_at_us=row["ended_at_us"],
        time_to_first_token_us=row["time_to_first_token_us"],
        end=ExchangeEnd(row["end"]),
        http_status=row["http_status"],
        client_address=text(row["client_address"]),
        is_stream=bool(row["is_stream"]),
        request_model=_optional(row["request_model"]),
        response_model=_optional(row["response_model"]),
        provider_name=_optional(row["provider_name"]),
        request_skeleton=as_bytes(row["request_skeleton"]),
        messages=(),
        request_hash=b"" if request_hash == _NO_HASH else request_hash,
        tool_names=tuple(map(text, row["tool_names"])),
        mentioned_ids=(),
        answer=None,
        response_id=_optional(row["response_id"]),
        issued_ids=(),
        finish_reasons=tuple(map(text, row["finish_reasons"])),
        usage=usage_of(row),
        error=error_of(row),
        response_metadata=as_bytes(row["response_metadata"]),
        client_ids=(),
        agent_name=_optional(row["agent_name"]),
        agent_version=_optional(row["agent_version"]),
        user_id=_optional(row["user_id"]),
        user_agent=_optional(row["user_agent"]),
        tags=tuple((text(name), text(value)) for name, value in row["tags"].items()),
        retry_count_hint=row["retry_count_hint"],
        request_bytes=row["request_bytes"],
        response_bytes=row["response_bytes"],
        opaque_reason=_optional(row["opaque_reason"]),
        is_truncated=bool(row["is_truncated"]),
        cost=Cost(_usd(row["cost_usd"]), CostSource(row["cost_source"]), row["price_provider"], row["price_date"]),
    )


def _optional(value: str | bytes | None) -> str | None:
    return None if value is None else text(value)


def _usd(value: Decimal | None) -> Decimal | None:
    """As it was before a column filled it up with noughts."""
    if value is None:
        return None
    plain = value.normalize()
    exponent = plain.as_tuple().exponent
    return plain.quantize(Decimal(1)) if isinstance(exponent, int) and exponent > 0 else plain
