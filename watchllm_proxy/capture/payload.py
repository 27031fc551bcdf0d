"""Exchange or Report <-> the payload of one record.

    version (1 byte) | metadata length (u32, little endian) | metadata (JSON object) | request body | response body

Version 1 is an exchange, version 2 a report, which has one body. Bodies are stored as they are and never parsed.
The metadata is small, readable and names its fields.
Older versions stay readable for as long as a log may hold them: tests/fixtures/capture has one of each.
"""

from __future__ import annotations

import struct
from uuid import UUID

import orjson

from watchllm_proxy.capture.spill import FilePart, Part
from watchllm_proxy.errors import CaptureLogError
from watchllm_proxy.records import Body, Exchange, ExchangeEnd, Headers, Report, ReportKind

VERSION = 1
REPORT_VERSION = 2
_PREFIX = struct.Struct("<BI")

Spilled = tuple[FilePart | None, FilePart | None]

# JSON texts are valid Unicode, yet a header or target may hold lone surrogates (undecodable bytes). A record
# with any has all its texts written as their UTF-8 (surrogates passed), read as latin-1; this field says so.
_ESCAPED = "is_escaped"


def pack(exchange: Exchange, spilled: Spilled = (None, None)) -> list[Part]:
    """Parts whose concatenation is the payload; the bodies among them are not copied.

    `spilled` are the beginnings of the request and response body that lie in files; the exchange holds the rest.

    Raises `CaptureLogError` for an exchange that no JSON can hold (an integer beyond 64 bits).
    """
    try:
        metadata = _dump(exchange, spilled)
    except (TypeError, ValueError, OverflowError) as exc:
        raise CaptureLogError(f"this exchange cannot be written to the capture log: {exc}") from exc
    head = _PREFIX.pack(VERSION, len(metadata)) + metadata
    request, response = spilled
    bodies = [request, exchange.request_body.content, response, exchange.response_body.content]
    return [head, *(part for part in bodies if part is not None)]


def pack_report(report: Report) -> list[Part]:
    """As `pack`. Raises `CaptureLogError` for a report that no JSON can hold."""
    metadata: dict[str, object] = {
        "report_id": report.report_id.hex,
        "project_id": report.project_id,
        "kind": report.kind.value,
        "run_id": report.run_id,
        "body_bytes": len(report.body),
        "received_at_us": report.received_at_us,
        "is_content_refused": report.is_content_refused,
    }
    try:
        head = orjson.dumps(metadata)
    except (TypeError, ValueError, OverflowError) as exc:
        raise CaptureLogError(f"this report cannot be written to the capture log: {exc}") from exc
    return [_PREFIX.pack(REPORT_VERSION, len(head)) + head, report.body]


def unpack(payload: bytes) -> Exchange:
    """The exchange that was packed. Raises `CaptureLogError`, and nothing else, for any other bytes."""
    found = unpack_any(payload)
    if isinstance(found, Report):
        raise CaptureLogError("this capture record is a report, not an exchange")
    return found


def unpack_any(payload: bytes) -> Exchange | Report:
    """What was packed. Raises `CaptureLogError`, and nothing else, for any other bytes."""
    if len(payload) < _PREFIX.size:
        raise CaptureLogError(f"capture record too short: {len(payload)} bytes")
    version, metadata_bytes = _PREFIX.unpack_from(payload)
    if version not in {VERSION, REPORT_VERSION}:
        raise CaptureLogError(
            f"capture record of version {version}; this watchllm reads versions up to {REPORT_VERSION}"
        )
    bodies_start = _PREFIX.size + metadata_bytes
    if bodies_start > len(payload):
        raise CaptureLogError("capture record cut inside its metadata")
    try:
        metadata = orjson.loads(memoryview(payload)[_PREFIX.size : bodies_start])
    except orjson.JSONDecodeError as exc:
        raise CaptureLogError(f"capture record with unreadable metadata: {exc}") from exc
    bodies = memoryview(payload)[bodies_start:]
    return _exchange(_Fields(metadata), bodies) if version == VERSION else _report(_Fields(metadata), bodies)


def _dump(exchange: Exchange, spilled: Spilled) -> bytes:
    metadata = _metadata(exchange, spilled)
    try:
        return orjson.dumps(metadata)
    except TypeError:
        escaped = {name: _escaped(value) for name, value in metadata.items()}
        return orjson.dumps({**escaped, _ESCAPED: True})


def _escaped(value: object) -> object:
    """The same value with every text of it escaped."""
    match value:
        case str():
            return value.encode("utf-8", "surrogatepass").decode("latin-1")
        case tuple():
            return [_escaped(item) for item in value]
        case dict():
            return {name: _escaped(item) for name, item in value.items()}
        case _:
            return value


def _unescape(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "surrogatepass")


def _metadata(exchange: Exchange, spilled: Spilled) -> dict[str, object]:
    return {
        "exchange_id": exchange.exchange_id.hex,
        "project_id": exchange.project_id,
        "method": exchange.method,
        "target": exchange.target,
        "request_headers": exchange.request_headers,
        "request_body": _body_metadata(exchange.request_body, spilled[0]),
        "status": exchange.status,
        "response_headers": exchange.response_headers,
        "response_body": _body_metadata(exchange.response_body, spilled[1]),
        "end": exchange.end.value,
        "started_at_us": exchange.started_at_us,
        "first_byte_us": exchange.first_byte_us,
        "duration_us": exchange.duration_us,
        "client_address": exchange.client_address,
        "error_detail": exchange.error_detail,
    }


def _body_metadata(body: Body, spilled: FilePart | None) -> dict[str, object]:
    metadata: dict[str, object] = {
        "content_bytes": len(body.content) + (0 if spilled is None else len(spilled)),
        "size_bytes": body.size_bytes,
        "sha256": body.sha256,
    }
    if body.is_partial:
        metadata["is_partial"] = True
    return metadata


def _exchange(fields: _Fields, bodies: memoryview) -> Exchange:
    request, response = fields.fields("request_body"), fields.fields("response_body")
    request_bytes, response_bytes = request.whole("content_bytes"), response.whole("content_bytes")
    if min(request_bytes, response_bytes) < 0 or request_bytes + response_bytes != len(bodies):
        raise CaptureLogError("capture record whose bodies are not as long as its metadata says")
    try:
        exchange_id, end = UUID(hex=fields.text("exchange_id")), ExchangeEnd(fields.text("end"))
    except ValueError as exc:
        raise CaptureLogError(f"capture record with a wrong field: {exc}") from exc
    return Exchange(
        exchange_id=exchange_id,
        project_id=fields.text("project_id"),
        method=fields.text("method"),
        target=fields.text("target"),
        request_headers=fields.headers("request_headers"),
        request_body=request.body(bytes(bodies[:request_bytes])),
        status=fields.whole_or_none("status"),
        response_headers=fields.headers("response_headers"),
        response_body=response.body(bytes(bodies[request_bytes:])),
        end=end,
        started_at_us=fields.whole("started_at_us"),
        first_byte_us=fields.whole_or_none("first_byte_us"),
        duration_us=fields.whole("duration_us"),
        client_address=fields.text("client_address"),
        error_detail=fields.text_or_none("error_detail"),
    )


def _report(fields: _Fields, body: memoryview) -> Report:
    if fields.whole("body_bytes") != len(body):
        raise CaptureLogError("capture record whose body is not as long as its metadata says")
    try:
        report_id, kind = UUID(hex=fields.text("report_id")), ReportKind(fields.text("kind"))
    except ValueError as exc:
        raise CaptureLogError(f"capture record with a wrong field: {exc}") from exc
    return Report(
        report_id=report_id,
        project_id=fields.text("project_id"),
        kind=kind,
        run_id=fields.text_or_none("run_id"),
        body=bytes(body),
        received_at_us=fields.whole("received_at_us"),
        is_content_refused=fields.is_true("is_content_refused"),
    )


class _Fields:
    """Typed access to a decoded JSON object that may be anything; complains as `CaptureLogError`."""

    def __init__(self, value: object, *, is_escaped: bool = False) -> None:
        if not isinstance(value, dict):
            raise CaptureLogError("capture record whose metadata is not an object")
        self._values: dict[str, object] = value
        self._is_escaped = is_escaped or value.get(_ESCAPED) is True

    def fields(self, name: str) -> _Fields:
        return _Fields(self._values.get(name), is_escaped=self._is_escaped)

    def text(self, name: str) -> str:
        return self._text(name, self._values.get(name))

    def text_or_none(self, name: str) -> str | None:
        value = self._values.get(name)
        return None if value is None else self._text(name, value)

    def whole(self, name: str) -> int:
        value = self._values.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise CaptureLogError(f"capture record whose {name} is not a whole number")
        return value

    def whole_or_none(self, name: str) -> int | None:
        return None if self._values.get(name) is None else self.whole(name)

    def is_true(self, name: str) -> bool:
        return self._values.get(name) is True

    def headers(self, name: str) -> Headers:
        value = self._values.get(name)
        if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
            raise CaptureLogError(f"capture record whose {name} are not pairs")
        return tuple((self._text(name, field), self._text(name, content)) for field, content in value)

    def body(self, content: bytes) -> Body:
        is_partial = self.is_true("is_partial")
        return Body(content, self.whole("size_bytes"), self.text_or_none("sha256"), is_partial)

    def _text(self, name: str, value: object) -> str:
        if not isinstance(value, str):
            raise CaptureLogError(f"capture record whose {name} is not text")
        if not self._is_escaped:
            return value
        try:
            return _unescape(value)
        except UnicodeError as exc:
            raise CaptureLogError(f"capture record whose {name} is wrongly escaped") from exc
