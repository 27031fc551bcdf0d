"""Answers in JSON: exact money, raw JSON passed through, one shape for every error."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from decimal import Decimal

import orjson
from aiohttp import web

MONEY_DECIMALS = 12
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_MONEY_STEP = Decimal(1).scaleb(-MONEY_DECIMALS)


def money_text(amount: Decimal) -> str:
    """A JSON number with at most 12 decimals, never in exponent form."""
    rounded = amount.quantize(_MONEY_STEP) if amount.as_tuple().exponent < -MONEY_DECIMALS else amount  # type: ignore[operator]
    text = format(rounded, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _default(value: object) -> object:
    if isinstance(value, Decimal):
        return orjson.Fragment(money_text(value)) if value.is_finite() else None
    raise TypeError(f"no JSON form for {type(value).__name__}")


def _without_surrogates(value: object) -> object:
    """The same value with lone surrogates, which UTF-8 cannot carry, replaced by U+FFFD."""
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(item) for item in value]
    return value


def dumps(value: object) -> bytes:
    """JSON of records made of dicts, sequences, text, numbers, `Decimal`, UUID and `orjson.Fragment`."""
    try:
        return orjson.dumps(value, default=_default)
    except orjson.JSONEncodeError:
        return orjson.dumps(_without_surrogates(value), default=_default)


def raw_json(text: str | bytes | None) -> object:
    """`text` as it is where it is JSON, so that no number is rounded; else the text as a JSON string."""
    if text is None:
        return None
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return orjson.Fragment(text)


def json_answer(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=dumps(value), status=status, content_type="application/json", headers=headers)


_GZIP_LEVEL = 4
"""For columns of a run: half the time of the usual level, and a tenth more bytes."""


def takes_gzip(request: web.Request) -> bool:
    return "gzip" in request.headers.get("Accept-Encoding", "").lower()


def zipped_json_answer(request: web.Request, value: object) -> web.Response:
    """For much at once: aiohttp would compress at a level of its own choice."""
    body = dumps(value)
    headers = {"Vary": "Accept-Encoding"}
    if takes_gzip(request):
        packer = zlib.compressobj(_GZIP_LEVEL, wbits=zlib.MAX_WBITS | 16)
        body = packer.compress(body) + packer.flush()
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=body, content_type="application/json", headers=headers)


_PROBED_FROM_BYTES = 1_000_000
_PROBES, _PROBE_BYTES = 64, 100
_BASE64 = re.compile(rb"[A-Za-z0-9+/=_-]*")


def is_mostly_base64(body: bytes) -> bool:
    """Of much, by looking here and there: to compress a picture takes 40 ms a megabyte, and saves a quarter."""
    if len(body) < _PROBED_FROM_BYTES:
        return False
    apart = len(body) // _PROBES
    probes = (body[at : at + _PROBE_BYTES] for at in range(0, len(body), apart))
    return 2 * sum(_BASE64.fullmatch(probe) is not None for probe in probes) > _PROBES


def error_answer(
    status: int,
    message: str,
    *,
    type: str,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """An error in the shape OpenAI clients know. `message` says what to do next."""
    error = {"message": message, "type": type, "code": code, "param": param}
    return json_answer({"error": error}, status=status, headers=headers)


class Problem(Exception):
    """A request that cannot be met: the status, a code for programs, words for people, the field that is wrong."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        self.status = status
        self.code = code
        self.param = param
        super().__init__(message)


class BadParameter(Exception):
    """A query parameter that cannot be used: which one, and what would be right."""

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        super().__init__(message)
