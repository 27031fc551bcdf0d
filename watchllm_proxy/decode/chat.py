"""Chat completions: messages in, choices out, in one object or in chunks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from watchllm_proxy.decode.answer import Answer, answer_metadata
from watchllm_proxy.decode.pieces import Pieces, arguments_text, build_message, read_parts
from watchllm_proxy.decode.usage import chat_usage
from watchllm_proxy.decode.values import Json, as_count, as_dict, as_list, as_str, dicts
from watchllm_proxy.records import Message, ToolCall, ToolResult

_KNOWN_KEYS = frozenset({"choices", "id", "model", "provider", "object", "error", "obfuscation"})


# --- request ----------------------------------------------------------------------------------------


def read_message(message: Json) -> Pieces:
    """One of `messages`, or the `message` of a choice."""
    if not isinstance(message, dict):
        texts, others = read_parts(message)
        return Pieces("", tuple(texts), others=tuple(others))
    role = as_str(message.get("role")) or ""
    texts, others = read_parts(message.get("content"))
    if not texts and (refusal := as_str(message.get("refusal"))):
        texts = [refusal]
    if role in ("tool", "function"):
        result = ToolResult(as_str(message.get("tool_call_id")), "\n".join(texts))
        return Pieces(role, tool_results=(result,), others=tuple(others))
    return Pieces(role, tuple(texts), read_tool_calls(message), others=tuple(others))


def read_tool_calls(message: dict[str, Json]) -> tuple[ToolCall, ...]:
    """`tool_calls`, and the older `function_call`, which has no id."""
    calls = [_read_tool_call(call) for call in dicts(message.get("tool_calls"))]
    legacy = message.get("function_call")
    if isinstance(legacy, dict) and as_str(legacy.get("name")):
        calls.append(_read_tool_call({"function": legacy}))
    return tuple(calls)


def _read_tool_call(call: dict[str, Json]) -> ToolCall:
    inner = as_dict(call.get("function")) or as_dict(call.get("custom"))
    arguments = inner.get("arguments", inner.get("input"))
    return ToolCall(as_str(call.get("id")), as_str(inner.get("name")) or "", arguments_text(arguments))


# --- answer -----------------------------------------------------------------------------------------


def read_answer(body: dict[str, Json]) -> Answer:
    """A whole `chat.completion` object, or one put together from chunks.

    The first choice is the answer. Ids of all choices count as issued; the other choices are kept in the
    metadata.
    """
    choices = sorted(dicts(body.get("choices")), key=lambda choice: as_count(choice.get("index")) or 0)
    messages = [as_dict(choice.get("message")) for choice in choices]
    response_id = as_str(body.get("id"))
    metadata = answer_metadata(body, _KNOWN_KEYS)
    if len(choices) > 1:
        metadata["other_choices"] = choices[1:]
    return Answer(
        message=_answer_message(messages[0]) if messages and messages[0] else None,
        response_id=response_id,
        issued_ids=[response_id, *(found for message in messages for found in _issued_ids(message))],
        finish_reasons=[as_str(choice.get("finish_reason")) for choice in choices],
        usage=chat_usage(as_dict(body.get("usage")) or as_dict(as_dict(body.get("x_groq")).get("usage"))),
        model=as_str(body.get("model")),
        provider=as_str(body.get("provider")),
        metadata=metadata,
    )


def _answer_message(message: dict[str, Json]) -> Message:
    """The message as sent, less its nulls: the way most clients send it back."""
    kept = {key: value for key, value in message.items() if value is not None or key == "content"}
    kept["role"] = as_str(message.get("role")) or "assistant"
    kept.setdefault("content", None)
    return build_message("answer", kept, read_message(kept))


def _issued_ids(message: dict[str, Json]) -> Iterable[str | None]:
    yield as_str(message.get("id"))
    for call in dicts(message.get("tool_calls")):
        yield as_str(call.get("id"))
    if "reasoning_details" in message:
        for detail in dicts(message["reasoning_details"]):
            yield as_str(detail.get("id"))
    if "audio" in message:
        yield as_str(as_dict(message["audio"]).get("id"))


# --- stream -----------------------------------------------------------------------------------------


def assemble(chunks: Iterable[dict[str, Json]]) -> dict[str, Json]:
    """Put the chunks of a stream together into the object that a plain answer would have been.

    Top-level fields: the last value that says something wins, so running totals of usage end as the total,
    and the empty `id` and `model` of a first chunk (Azure) are overwritten; `id` and `model` keep the first
    one. Choices are told apart by their index.
    """
    body: dict[str, Json] = {}
    choices: dict[int, _Choice] = {}
    former: dict[str, Json] = {}
    for chunk in chunks:
        envelope = chunk.copy()
        value = envelope.pop("choices", None)
        if not (choices and _is_next_text(value, choices)):
            _take_choices(value, choices)
        if envelope == former:  # of nearly all: they say the same again
            continue
        former = envelope
        for key, value in envelope.items():
            old = body.get(key)
            if value == old or value in (None, "", [], {}) or (old and key in ("id", "model")):
                continue
            body[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    body["choices"] = [choice.as_json(index) for index, choice in sorted(choices.items())]
    return body


def _is_next_text(value: Json, choices: dict[int, _Choice]) -> bool:
    """One choice that brings more of its text and nothing else, as most chunks do: taken at once."""
    if type(value) is not list or len(value) != 1 or type(choice := value[0]) is not dict:
        return False
    delta = choice.get("delta")
    if type(delta) is not dict or len(delta) != 1 or choice.get("finish_reason") is not None:
        return False
    text, index = delta.get("content"), choice.get("index")
    if type(text) is not str or type(index) is not int or not choice.keys() <= _OF_A_TEXT:
        return False
    if choice.get("logprobs") is not None:
        return False
    taken = choices.get(index)
    if taken is None or taken.parts or "content" not in taken.texts or taken.fields.get("index") != index:
        return False
    taken.texts["content"].append(text)
    return True


_OF_A_TEXT = frozenset({"index", "delta", "finish_reason", "logprobs"})


def _take_choices(value: Json, choices: dict[int, _Choice]) -> None:
    for choice in value if isinstance(value, list) else ():
        if not isinstance(choice, dict):
            continue
        index = as_count(choice.get("index")) or 0
        taken = choices.get(index)
        if taken is None:
            taken = choices[index] = _Choice()
        taken.take(choice)


@dataclass(slots=True)
class ToolCallAssembly:
    """Tool calls put together from deltas, with all that upstreams do to them.

    Deltas are told apart by `index` (OpenAI, also interleaved), else by `id` (Mistral has no index), else they
    belong to the last call. A delta with a new id *and* a name under a used index is a new call (some
    upstreams number every parallel call 0); a new id without a name is not (some mint an id per delta).
    `id` may be "" in continuations, a name may be repeated, arguments may be absent, null or an object.
    """

    calls: list[dict[str, Json]] = field(default_factory=list)
    _by_index: dict[int, dict[str, Json]] = field(default_factory=dict)

    def take(self, delta: dict[str, Json]) -> None:
        inner_key = "custom" if isinstance(delta.get("custom"), dict) else "function"
        inner = as_dict(delta.get(inner_key))
        call = self._find(delta, as_str(inner.get("name")))
        call["id"] = call["id"] or as_str(delta.get("id"))
        for key, value in delta.items():
            if key not in ("id", "index", inner_key) and value is not None:
                call[key] = value
        target = call.setdefault(inner_key, {"name": ""})
        target["name"] = target["name"] or as_str(inner.get("name")) or ""
        for key, value in inner.items():
            if key in ("arguments", "input"):
                target[key] = target.get(key, "") + arguments_text(value)
            elif key != "name" and value is not None:
                target[key] = value

    def _find(self, delta: dict[str, Json], name: str | None) -> dict[str, Json]:
        index, call_id = as_count(delta.get("index")), as_str(delta.get("id"))
        if index is not None:
            call = self._by_index.get(index)
        elif call_id:
            call = next((call for call in self.calls if call["id"] == call_id), None)
        else:
            call = self.calls[-1] if self.calls and not name else None
        is_other = call is not None and name and call_id and call["id"] and call["id"] != call_id
        if call is None or is_other:
            call = {"id": None, "type": "function"}
            self.calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return call

    def as_json(self) -> list[dict[str, Json]]:
        return [{key: value for key, value in call.items() if value is not None} for call in self.calls]


@dataclass(slots=True)
class _Choice:
    """A choice that grows delta by delta."""

    fields: dict[str, Json] = field(default_factory=dict)  # finish_reason and whatever stands beside the delta
    texts: dict[str, list[str]] = field(
        default_factory=dict
    )  # content, refusal, reasoning, ...: joined at the end
    parts: list[Json] = field(default_factory=list)  # content as a list of parts (Mistral)
    details: dict[str, Json] = field(default_factory=dict)  # other fields of the message: the last value
    lists: dict[str, list[Json]] = field(default_factory=dict)  # annotations, images, ...: all items
    tool_calls: ToolCallAssembly = field(default_factory=ToolCallAssembly)
    legacy_call: dict[str, str] = field(default_factory=dict)

    def take(self, choice: dict[str, Json]) -> None:
        for key, value in choice.items():
            if value is None or key == "message":  # a whole `message` in a chunk: Perplexity repeats it
                continue
            if key == "delta":
                for name, part in as_dict(value).items():
                    self._take_field(name, part)
            elif value != "":
                self.fields[key] = value

    def _take_field(self, key: str, value: Json) -> None:
        if value is None or key in ("index", "role"):
            return
        if key == "content":
            self._take_content(value)
        elif key == "tool_calls":
            for call in dicts(value):
                self.tool_calls.take(call)
        elif key == "function_call":
            for part, text in as_dict(value).items():
                self.legacy_call[part] = self.legacy_call.get(part, "") + arguments_text(text)
        elif isinstance(value, str):
            self.texts.setdefault(key, []).append(value)
        elif isinstance(value, list):
            for item in value:
                _append_part(self.lists.setdefault(key, []), item)
        else:
            self.details[key] = value

    def _take_content(self, value: Json) -> None:
        if isinstance(value, str):
            if self.parts:
                _append_part(self.parts, {"type": "text", "text": value})
            else:
                self.texts.setdefault("content", []).append(value)
        elif isinstance(value, list):
            for item in value:
                _append_part(self.parts, item)
        else:
            self.details["content"] = value

    def as_json(self, index: int) -> dict[str, Json]:
        message: dict[str, Json] = {"role": "assistant", "content": None, **self.details, **self.lists}
        message.update({key: "".join(texts) for key, texts in self.texts.items()})
        if self.parts:
            text = message["content"]
            message["content"] = [*([{"type": "text", "text": text}] if text else []), *self.parts]
        if self.tool_calls.calls:
            message["tool_calls"] = self.tool_calls.as_json()
        if self.legacy_call:
            message["function_call"] = self.legacy_call
        return {"finish_reason": None, **self.fields, "index": index, "message": message}


def _append_part(parts: list[Json], part: Json) -> None:
    """Add a part to a list, or its text to the last part when it goes on with that one."""
    last = parts[-1] if parts else None
    if not (isinstance(part, dict) and isinstance(last, dict)) or not _goes_on(last, part):
        parts.append(_own_copy(part))
        return
    for key, value in part.items():
        if key in ("text", "summary", "signature", "data") and isinstance(value, str):
            last[key] = (as_str(last.get(key)) or "") + value
        elif key == "thinking" and isinstance(value, list):
            for item in value:
                _append_part(last.setdefault(key, []), item)
        elif value is not None:
            last[key] = value


def _goes_on(last: dict[str, Json], part: dict[str, Json]) -> bool:
    kind = part.get("type")
    mergeable = kind in ("text", "thinking") or (isinstance(kind, str) and kind.startswith("reasoning."))
    return mergeable and last.get("type") == kind and last.get("index") == part.get("index")


def _own_copy(part: Json) -> Json:
    """A copy as deep as `_append_part` writes."""
    if isinstance(part, dict):
        return {
            key: [_own_copy(item) for item in as_list(value)]
            if key == "thinking" and isinstance(value, list)
            else value
            for key, value in part.items()
        }
    return part
