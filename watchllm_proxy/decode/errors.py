"""Why a call failed, out of the many shapes in which upstreams say it."""

from __future__ import annotations

from watchllm_proxy.decode.values import Json, as_dict, as_str
from watchllm_proxy.records import CallError, Exchange, ExchangeEnd

MAX_MESSAGE_CHARACTERS = 4_000


def error_in_answer(body: Json, status: int | None) -> CallError | None:
    """The error that an answer holds, under any status; None where it holds none.

    Shapes: {"error": {type, code, message, metadata}} (OpenAI, OpenRouter, Azure, Groq), the same inside a choice,
    {"type": "error", "error": …} (Anthropic), {"error": "text"}, and for a status of 400 and above also
    {"detail": …} (FastAPI, Mistral), {"message": …}, or any text.
    """
    fields = as_dict(body)
    told = fields.get("error")
    if not told:
        told = next((choice["error"] for choice in _choices(fields) if choice.get("error")), None)
    if told:
        return _from_error_value(told, status)
    if status is not None and status >= 400:
        return _from_failed_status(body, status)
    return None


def _choices(fields: dict[str, Json]) -> list[dict[str, Json]]:
    choices = fields.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _from_error_value(told: Json, status: int | None) -> CallError:
    if not isinstance(told, dict):
        return CallError(_fallback_type(None, status), _shorten(told if isinstance(told, str) else str(told)))
    code = told.get("code")
    code_text = None if code is None or isinstance(code, (dict, list)) else str(code)
    kind = as_str(told.get("type")) or as_str(as_dict(told.get("metadata")).get("error_type"))
    message = as_str(told.get("message")) or as_str(told.get("detail")) or code_text or ""
    return CallError(kind or _fallback_type(code_text, status), _shorten(message), code_text)


def _fallback_type(code: str | None, status: int | None) -> str:
    """A name for an error that has none: its code if that is a word, else the HTTP status it means."""
    if code and not code.isdigit():
        return code
    number = code if code else str(status or "")
    return f"http_{number}" if number and number != "200" else "error"


def _from_failed_status(body: Json, status: int) -> CallError:
    if isinstance(body, (bytes, bytearray)):
        return CallError(
            f"http_{status}", _shorten(bytes(body[: MAX_MESSAGE_CHARACTERS * 4]).decode("utf-8", "replace"))
        )
    fields = as_dict(body)
    text = fields.get("message") or fields.get("detail") or fields.get("msg") or body
    return CallError(
        as_str(fields.get("type")) or f"http_{status}", _shorten(text if isinstance(text, str) else str(text))
    )


def error_of_end(exchange: Exchange, has_finished: bool) -> CallError | None:
    """The error that an exchange's end is. A client that leaves after the answer's last word got its answer."""
    if exchange.end is ExchangeEnd.COMPLETE:
        return None
    if exchange.end is ExchangeEnd.CLIENT_ABORTED and has_finished:
        return None
    return CallError(exchange.end.value, exchange.error_detail or _END_MESSAGES[exchange.end])


_END_MESSAGES = {
    ExchangeEnd.CLIENT_ABORTED: "the client left before the answer was complete",
    ExchangeEnd.UPSTREAM_UNREACHABLE: "no connection to the upstream",
    ExchangeEnd.UPSTREAM_TIMEOUT: "the upstream did not begin to answer in time",
    ExchangeEnd.UPSTREAM_INVALID: "the upstream's answer was no HTTP",
    ExchangeEnd.UPSTREAM_STALLED: "the upstream fell silent in the middle of its answer",
    ExchangeEnd.UPSTREAM_BROKEN: "the upstream's connection broke in the middle of its answer",
}


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[:MAX_MESSAGE_CHARACTERS] + "…"
