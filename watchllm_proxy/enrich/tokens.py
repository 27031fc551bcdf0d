"""Token counts where the upstream told none: streams without `include_usage`, broken streams, small servers.

A count is an estimate and marked as one: the text is counted exactly in the vocabulary of the model (o200k_base
where it is not known), the wrapping around messages is a rule of thumb, and images and audio count nothing.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from watchllm_proxy.records import Api, Call, ExchangeEnd, Message, Usage

if TYPE_CHECKING:
    from bpe_openai import Encoding

TOKENS_PER_MESSAGE = 4
"""Role and delimiters (OpenAI's cookbook counts 3 per message and 1 for a name)."""
TOKENS_PER_REPLY_START = 3

MAX_COUNTED_CHARACTERS = 200_000
"""Of one text. What is beyond is taken to be as dense as the beginning: an estimate may not cost seconds."""

_DEFAULT_ENCODING = "o200k_base"
# Only these two come with their vocabulary. Any other name makes bpe-openai download one.
_BUNDLED_ENCODINGS = frozenset({"o200k_base", "cl100k_base"})
_NEAREST_BUNDLED = {"p50k_base": "cl100k_base", "p50k_edit": "cl100k_base", "r50k_base": "cl100k_base"}

_REASONING_KEYS = frozenset({"reasoning_content", "reasoning", "thinking", "summary"})


def estimate_usage(call: Call) -> Call:
    """The call with its missing counts filled in and `is_estimated` set; else the same call.

    What the upstream told is never replaced, but for one case: a Messages stream that was cut tells the output
    tokens of its first event only. Calls that were turned away (a status of 400 and above, no connection) used no
    tokens that anybody counts: they stay unknown.
    """
    if call.api is Api.OTHER or call.http_status is None or call.http_status >= 400 or not call.messages:
        return call
    usage = call.usage
    if usage.input_tokens is None and usage.output_tokens is None and usage.total_tokens is None:
        return replace(call, usage=_estimate_all(call))
    if _is_output_cut_short(call):
        return _with_counted_output(call)
    return call


def count_tokens(text: str, model: str | None) -> int:
    """Tokens of a text in the model's vocabulary; past MAX_COUNTED_CHARACTERS by proportion."""
    counted = text[:MAX_COUNTED_CHARACTERS]
    tokens = _count(_encoding(encoding_name(model)), _encodable(counted))
    return tokens if len(text) <= len(counted) else round(tokens * len(text) / len(counted))


def _count(encoding: Encoding, text: str) -> int:
    """The library refuses to give more tokens than a model reads, but tells how many there are."""
    from bpe_openai.errors import TokenLimitError  # noqa: PLC0415 - imported by then

    try:
        return len(encoding.encode_ordinary(text))
    except TokenLimitError as exc:
        return int(exc.token_count)


@functools.lru_cache(maxsize=1024)
def encoding_name(model: str | None) -> str:
    """The vocabulary that counts a model's text: "gpt-4o", "openai/gpt-4o-mini" and "ft:gpt-4" alike."""
    from tiktoken.model import MODEL_PREFIX_TO_ENCODING, MODEL_TO_ENCODING  # noqa: PLC0415 - 30 ms, rarely needed

    name = (model or "").lower().rpartition("/")[2].partition(":free")[0]
    exact = MODEL_TO_ENCODING.get(name)
    by_prefix = (encoding for prefix, encoding in MODEL_PREFIX_TO_ENCODING.items() if name.startswith(prefix))
    found = exact or next(by_prefix, _DEFAULT_ENCODING)
    found = _NEAREST_BUNDLED.get(found, found)
    return found if found in _BUNDLED_ENCODINGS else _DEFAULT_ENCODING


@functools.cache
def _encoding(name: str) -> Encoding:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # bpe-openai opens its data by an old function
        from bpe_openai import get_encoding  # noqa: PLC0415 - 0.6 s to import, and most upstreams tell their usage

        return get_encoding(name)


def _encodable(text: str) -> str:
    """Lone surrogates cannot be encoded as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


# --- a call -----------------------------------------------------------------------------------------


def _estimate_all(call: Call) -> Usage:
    model = call.response_model or call.request_model
    read = sum(_message_tokens(message, model) for message in call.messages)
    if call.api in (Api.CHAT_COMPLETIONS, Api.MESSAGES, Api.RESPONSES):
        read += TOKENS_PER_REPLY_START
    written = None if call.api is Api.EMBEDDINGS else _answer_tokens(call.answer, model)
    return replace(
        call.usage,
        input_tokens=read,
        output_tokens=written,
        total_tokens=read + (written or 0),
        is_estimated=True,
    )


def _is_output_cut_short(call: Call) -> bool:
    return call.api is Api.MESSAGES and call.end is not ExchangeEnd.COMPLETE and not call.finish_reasons


def _with_counted_output(call: Call) -> Call:
    counted = _answer_tokens(call.answer, call.response_model or call.request_model)
    usage = call.usage
    if counted <= (usage.output_tokens or 0):
        return call
    total = None if usage.input_tokens is None else usage.input_tokens + counted
    return replace(call, usage=replace(usage, output_tokens=counted, total_tokens=total, is_estimated=True))


def _message_tokens(message: Message, model: str | None) -> int:
    if message.slot == "tools":
        return count_tokens(message.content.decode(), model)
    if message.slot in ("prompt", "input") and not message.text:
        return _token_ids(message.content)
    wrapping = 0 if message.slot in ("prompt", "input") and message.role == "" else TOKENS_PER_MESSAGE
    return count_tokens(_spoken(message), model) + wrapping


def _spoken(message: Message) -> str:
    """Text and tool calls: what the model reads or wrote."""
    calls = (f"{call.name}({call.arguments})" for call in message.tool_calls)
    return "\n".join(text for text in (message.text, *calls) if text)


def _token_ids(content: bytes) -> int:
    """A prompt or an input that is given as token ids counts itself."""
    value: object = orjson.loads(content)
    return len(value) if isinstance(value, list) and value and isinstance(value[0], int) else 0


def _answer_tokens(answer: Message | None, model: str | None) -> int:
    if answer is None:
        return 0
    thought = "\n".join(_reasoning_texts(orjson.loads(answer.content), is_reasoning=False))
    return count_tokens(_spoken(answer), model) + (count_tokens(thought, model) if thought else 0)


def _reasoning_texts(value: object, *, is_reasoning: bool) -> Iterator[str]:
    """Texts below a key that holds reasoning: they are paid for as output, and are not in `Message.text`."""
    if isinstance(value, str):
        if is_reasoning:
            yield value
    elif isinstance(value, list):
        for item in value:
            yield from _reasoning_texts(item, is_reasoning=is_reasoning)
    elif isinstance(value, dict):
        for key, inner in value.items():
            inside = key in _REASONING_KEYS or (is_reasoning and key == "text")
            if inside or isinstance(inner, (list, dict)):
                yield from _reasoning_texts(inner, is_reasoning=inside)
