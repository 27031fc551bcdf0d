"""Legacy completions (text in, text out) and embeddings (text in, vectors out)."""

from __future__ import annotations

from collections.abc import Iterable

from watchllm_proxy.decode.answer import Answer, answer_metadata
from watchllm_proxy.decode.pieces import Pieces, build_message, read_parts
from watchllm_proxy.decode.usage import chat_usage
from watchllm_proxy.decode.values import Json, as_count, as_dict, as_str, dicts

_KNOWN_KEYS = frozenset({"choices", "id", "model", "provider", "object", "error", "data"})


def read_prompt(value: Json) -> Pieces:
    """A prompt: text, or token ids, which say nothing readable."""
    return Pieces("user", (value,) if isinstance(value, str) and value else ())


def read_embedding_input(value: Json) -> Pieces:
    """An input to embed: text, token ids, or parts (text and images)."""
    content = value.get("content") if isinstance(value, dict) and "content" in value else value
    texts, others = ([], []) if isinstance(content, (int, list)) and _is_tokens(content) else read_parts(content)
    return Pieces("", tuple(texts), others=tuple(others))


def _is_tokens(value: Json) -> bool:
    return isinstance(value, int) or (isinstance(value, list) and bool(value) and isinstance(value[0], int))


def read_completion(body: dict[str, Json]) -> Answer:
    """A whole `text_completion` object, or one put together from chunks; the first choice is the answer."""
    choices = sorted(dicts(body.get("choices")), key=lambda choice: as_count(choice.get("index")) or 0)
    response_id = as_str(body.get("id"))
    metadata = answer_metadata(body, _KNOWN_KEYS)
    if len(choices) > 1:
        metadata["other_choices"] = choices[1:]
    message = None
    if choices and isinstance(text := choices[0].get("text"), str):
        value = {"role": "assistant", "content": text}
        message = build_message("answer", value, Pieces("assistant", (text,) if text else ()))
    return Answer(
        message=message,
        response_id=response_id,
        issued_ids=[response_id],
        finish_reasons=[as_str(choice.get("finish_reason")) for choice in choices],
        usage=chat_usage(as_dict(body.get("usage"))),
        model=as_str(body.get("model")),
        provider=as_str(body.get("provider")),
        metadata=metadata,
    )


def assemble_completion(chunks: Iterable[dict[str, Json]]) -> dict[str, Json]:
    """Put the chunks of a stream together; fields as in `chat.assemble`."""
    body: dict[str, Json] = {}
    choices: dict[int, dict[str, Json]] = {}
    texts: dict[int, list[str]] = {}
    for chunk in chunks:
        for key, value in chunk.items():
            if (
                key != "choices"
                and value not in (None, "", [], {})
                and not (key in ("id", "model") and key in body)
            ):
                body[key] = value
        for choice in dicts(chunk.get("choices")):
            index = as_count(choice.get("index")) or 0
            kept = choices.setdefault(index, {"index": index, "finish_reason": None})
            kept.update({key: value for key, value in choice.items() if key != "text" and value not in (None, "")})
            texts.setdefault(index, []).append(as_str(choice.get("text")) or "")
    body["choices"] = [{**choice, "text": "".join(texts[index])} for index, choice in sorted(choices.items())]
    return body


def read_embeddings(body: dict[str, Json]) -> Answer:
    """The vectors are not kept: they can be had again, and they would be most of what is stored."""
    response_id = as_str(body.get("id"))
    vectors = dicts(body.get("data"))
    return Answer(
        response_id=response_id,
        issued_ids=[response_id],
        usage=chat_usage(as_dict(body.get("usage"))),
        model=as_str(body.get("model")),
        provider=as_str(body.get("provider")),
        metadata={**answer_metadata(body, _KNOWN_KEYS), "embedding_count": len(vectors)},
    )
