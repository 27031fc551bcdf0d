"""Recorded exchanges of many providers as Exchange records."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from watchllm_proxy.records import Body, Exchange, ExchangeEnd

# Recordings whose source left out the path.
_DEFAULT_PATHS = {
    "chat.completions": "/v1/chat/completions",
    "responses": "/v1/responses",
    "anthropic.messages": "/v1/messages",
}


def read_wire(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.jsonl.gz")):
        if path.name != "ODDITIES.jsonl.gz":
            yield from read_jsonl(path)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") as lines:
        for line in lines:
            yield json.loads(line)


def request_bytes(record: dict[str, Any]) -> bytes:
    body = record["request_body"]
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def answer_bytes(record: dict[str, Any]) -> bytes:
    body = record["response_body"]
    return base64.b64decode(body[7:]) if body.startswith("base64:") else body.encode()


def exchange_of(record: dict[str, Any], answer: bytes | None = None, encoding: str | None = None) -> Exchange:
    """The recordings hold decoded bodies, so their content-encoding header goes, unless we encode again."""
    request = request_bytes(record)
    answer = answer_bytes(record) if answer is None else answer
    headers = [
        (k, str(v)) for k, v in (record["response_headers"] or {}).items() if k.lower() != "content-encoding"
    ]
    if encoding:
        headers.append(("Content-Encoding", encoding))
    return Exchange(
        exchange_id=uuid5(NAMESPACE_URL, record.get("id") or f"{record['true_run']}{record['t_request']}"),
        project_id="default",
        method=record["method"] or "POST",
        target=record["path"] or _DEFAULT_PATHS.get(record["api"], "/v1/unknown"),
        request_headers=tuple(
            (k, str(v)) for k, v in record["request_headers"].items() if k.lower() != "content-encoding"
        ),
        request_body=Body(request, len(request)),
        status=record["status"] or 200,
        response_headers=tuple(headers),
        response_body=Body(answer, len(answer)),
        end=ExchangeEnd.COMPLETE,
        started_at_us=1_790_000_000_000_000,
        first_byte_us=1_000,
        duration_us=2_000,
        client_address="127.0.0.1:40000",
    )
