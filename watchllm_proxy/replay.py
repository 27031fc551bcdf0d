"""CONDUCTOR of `watchllm replay`: a recorded corpus -> decode -> sessionize, with no server and no store.

A corpus has one exchange per line of JSON, in the order in which they began (gzip'd where its name ends in
.gz): `t_request`, `t_response` (seconds), `method`, `path`, `request_headers`, `request_body`, `status`,
`response_headers`, `response_body`, and where known `client_port` and how it ended (`end`, an ExchangeEnd).
Other fields, labels too, are not read.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TextIO
from uuid import UUID, uuid5

from watchllm_proxy.decode import decode
from watchllm_proxy.errors import CaptureLogError
from watchllm_proxy.records import DEFAULT_PROJECT_ID, Body, Exchange, ExchangeEnd, Headers, Placement
from watchllm_proxy.sessionize import Sessionizer
from watchllm_proxy.sessionize.assignments import Assignment, assignment, certain_sessions

CORPUS_NAMESPACE = UUID("0d9f3c58-6a0e-5f0a-8a53-3e35c9b6b0a1")
SILENCE_US = 600 * 1_000_000


def replay(corpus_path: Path, *, silence_us: int = SILENCE_US) -> Iterator[Assignment]:
    """One assignment per line of the corpus, in its order. The whole corpus is held in memory.

    Raises CaptureLogError, naming the line, for one that is no recorded exchange.
    """
    exchanges = list(read_corpus(corpus_path))
    sessionizer = Sessionizer(silence_us=silence_us)
    found: dict[UUID, Placement] = {}
    for exchange in sorted(exchanges, key=lambda e: e.ended_at_us):  # as the capture log would hold them
        placement = sessionizer.observe(decode(exchange), exchange.ended_at_us)
        found.setdefault(placement.call_id, placement)
        changes = sessionizer.drain()
        for placement in changes.placements:
            found[placement.call_id] = placement
        for moved in changes.moved:
            found[moved.call_id] = replace(
                found[moved.call_id],
                run_id=moved.run_id,
                session_id=moved.session_id,
                parent_run_id=moved.parent_run_id,
            )
    certain = certain_sessions(found.values())
    for exchange in exchanges:
        yield assignment(found[exchange.exchange_id], certain)


def write_assignments(corpus_path: Path, out: TextIO) -> int:
    """One line of JSON per exchange; returns how many."""
    count = 0
    for found in replay(corpus_path):
        out.write(json.dumps(found, ensure_ascii=False) + "\n")
        count += 1
    return count


def read_corpus(corpus_path: Path) -> Iterator[Exchange]:
    opener = gzip.open if corpus_path.suffix == ".gz" else open
    with opener(corpus_path, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield _exchange(json.loads(line), number)
            except (ValueError, KeyError, TypeError, AttributeError) as exc:
                raise CaptureLogError(
                    f"{corpus_path.name}, line {number}: no recorded exchange ({exc!r})"
                ) from exc


def _exchange(line: dict[str, object], number: int) -> Exchange:
    started_us = _microseconds(line["t_request"])
    ended_us = max(started_us, _microseconds(line.get("t_response") or line["t_request"]))
    status = line.get("status")
    return Exchange(
        exchange_id=uuid5(CORPUS_NAMESPACE, str(number)),
        project_id=DEFAULT_PROJECT_ID,
        method=str(line["method"]),
        target=str(line["path"]),
        request_headers=_headers(line.get("request_headers")),
        request_body=_body(line.get("request_body")),
        status=status if isinstance(status, int) else None,
        response_headers=_headers(line.get("response_headers")),
        response_body=_body(line.get("response_body")),
        end=_end(line.get("end"), status),
        started_at_us=started_us,
        first_byte_us=None,
        duration_us=ended_us - started_us,
        client_address=f"127.0.0.1:{line.get('client_port', 0)}",
    )


def _end(told: object, status: object) -> ExchangeEnd:
    """As told; else an exchange with a status was complete, and one without lost its client."""
    if told is not None:
        return ExchangeEnd(str(told))
    return ExchangeEnd.COMPLETE if isinstance(status, int) else ExchangeEnd.CLIENT_ABORTED


def _microseconds(seconds: object) -> int:
    if not isinstance(seconds, int | float):
        raise TypeError(f"{seconds!r} is no time in seconds")
    return round(seconds * 1_000_000)


def _headers(value: object) -> Headers:
    """Bodies were recorded decoded, so the fields that describe their coding do not apply."""
    if not isinstance(value, dict):
        return ()
    return tuple((str(k), str(v)) for k, v in value.items() if str(k).lower() not in {"content-encoding"})


def _body(value: object) -> Body:
    if value is None:
        content = b""
    elif isinstance(value, str):
        content = value.encode("utf-8", "surrogatepass")
    else:
        content = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return Body(content, len(content))
