"""Our own capture log as a corpus: one line of JSON per exchange, in order of arrival, with its true run.

The format is that of `watchllm replay` and of the benchmark's own data. Times are seconds from the first request.
The label is taken out of the headers and becomes the fields `true_…`, which no detection reads. Credentials were
stripped before capture; what is left of them, the host, and dates are left out.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.traffic.truth import HEADER, Label, read_label
from watchllm_proxy.capture.payload import unpack
from watchllm_proxy.capture.reader import LogReader
from watchllm_proxy.records import Exchange, ExchangeEnd, Headers

LEFT_OUT = {HEADER, "authorization", "x-api-key", "api-key", "cookie", "host", "date", "server"}


def read_log(directory: Path) -> list[Exchange]:
    """All of a log that nobody writes any more, in order of arrival."""
    reader, start, found = LogReader(directory), None, []
    while True:
        batch = reader.read(start)
        found += [unpack(record.payload) for record in batch.records]
        if not batch.records:
            return sorted(found, key=lambda exchange: exchange.started_at_us)
        start = batch.end


def write_corpus(path: Path, exchanges: Iterable[Exchange]) -> int:
    """Returns the number of lines. The same exchanges make the same bytes."""
    lines = list(corpus_lines(list(exchanges)))
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0) as compressed:
        compressed.write(text.encode())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return len(lines)


def corpus_lines(exchanges: list[Exchange]) -> Iterator[dict[str, object]]:
    """Raises Unlabelled for an exchange without a label."""
    labels = [read_label(_field(exchange.request_headers, HEADER)) for exchange in exchanges]
    parents = {_run(label): _named(label, label.parent) for label in labels}
    origins = {_run(label): _named(label, label.parent or label.branch_of) for label in labels}
    first_us = min(exchange.started_at_us for exchange in exchanges)
    for exchange, label in zip(exchanges, labels, strict=True):
        run = _run(label)
        yield {
            "t_request": (exchange.started_at_us - first_us) / 1e6,
            "t_response": (exchange.ended_at_us - first_us) / 1e6,
            "method": exchange.method,
            "path": exchange.target,
            "request_headers": _headers(exchange.request_headers),
            "request_body": json.loads(exchange.request_body.content or b"null"),
            "status": exchange.status,
            "response_headers": _headers(exchange.response_headers),
            "response_body": exchange.response_body.content.decode(),
            "client_port": int(exchange.client_address.rpartition(":")[2]),
            **({} if exchange.end is ExchangeEnd.COMPLETE else {"end": exchange.end.value}),
            "framework": label.setup,
            "scenario": label.scenario,
            "true_run": run,
            "true_turn": label.turn,
            "true_root_run": _root(run, origins),
            **({"true_parent_run": parents[run]} if parents[run] else {}),
            **({"true_agent": label.agent} if label.agent else {}),
        }


def _run(label: Label) -> str:
    return f"{label.setup}/{label.scenario}/{label.run}"


def _named(label: Label, run: str | None) -> str | None:
    return f"{label.setup}/{label.scenario}/{run}" if run else None


def _root(run: str, origins: Mapping[str, str | None]) -> str:
    while (origin := origins.get(run)) is not None:
        run = origin
    return run


def _headers(fields: Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in fields if name.lower() not in LEFT_OUT}


def _field(fields: Headers, wanted: str) -> str | None:
    return next((value for name, value in fields if name.lower() == wanted), None)
