"""Exchanges for tests of the capture log, and the plain way to get all of them back."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

from watchllm_proxy.capture.committer import Record
from watchllm_proxy.capture.payload import pack
from watchllm_proxy.capture.reader import LogBatch, LogReader
from watchllm_proxy.records import Body, Exchange, ExchangeEnd, LogPosition

HEADERS = (("Content-Type", "application/json"), ("X-A", "1"), ("X-A", "2"))


def make_exchange(
    request: bytes = b'{"model":"m"}', response: bytes = b"{}", exchange_id: UUID | None = None
) -> Exchange:
    return Exchange(
        exchange_id=exchange_id or uuid4(),
        project_id="default",
        method="POST",
        target="/v1/chat/completions",
        request_headers=HEADERS,
        request_body=Body(request, len(request)),
        status=200,
        response_headers=HEADERS,
        response_body=Body(response, len(response)),
        end=ExchangeEnd.COMPLETE,
        started_at_us=1_790_000_000_000_000,
        first_byte_us=1000,
        duration_us=2000,
        client_address="127.0.0.1:50000",
    )


def make_record(exchange: Exchange) -> Record:
    """As the writer hands it to the committer, but not in the crash buffer."""
    payload = pack(exchange)
    return Record(exchange.exchange_id, payload, sum(map(len, payload)), None)


def read_all(
    directory: Path, start: LogPosition | None = None, *, max_records: int = 1000, max_bytes: int = 1 << 20
) -> tuple[list[UUID], LogBatch]:
    """The ids of all records from `start` on, in order, and the last batch (empty: nothing more came)."""
    reader = LogReader(directory)
    ids: list[UUID] = []
    batch = reader.read(start, max_records=max_records, max_bytes=max_bytes)
    while batch.records:
        ids += [record.record_id for record in batch.records]
        batch = reader.read(batch.end, max_records=max_records, max_bytes=max_bytes)
    return ids, batch


def segment_names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.log"))
