"""What every dialect's answer comes down to, before it becomes part of a Call."""

from __future__ import annotations

from dataclasses import field

from watchllm_proxy.decode.canonical import dump
from watchllm_proxy.decode.values import Json
from watchllm_proxy.records import Message, Usage, record

MAX_METADATA_VALUE_BYTES = 16 * 1024
"""Longer values (log probabilities, token ids of the prompt) are left out of the metadata and named there."""

_MAX_CHARACTER_BYTES = 8  # as JSON, and more than enough for the quotes


@record
class Answer:
    """An answer, understood. Lists may hold None and repeats where the upstream said nothing."""

    message: Message | None = None
    response_id: str | None = None
    issued_ids: list[str | None] = field(default_factory=list)
    finish_reasons: list[str | None] = field(default_factory=list)
    usage: Usage = Usage()
    model: str | None = None
    provider: str | None = None
    metadata: dict[str, Json] = field(default_factory=dict)


def answer_metadata(body: dict[str, Json], known: frozenset[str]) -> dict[str, Json]:
    """What an answer object holds beside the fields that a Call has its own place for.

    `usage` is kept as it was sent, too: it may tell more (searches, tiers of cache) than Usage has words for.
    """
    kept: dict[str, Json] = {}
    left_out = []
    for key, value in body.items():
        if key in known or value is None or value in ("", [], {}):
            continue
        if _is_long(value):
            left_out.append(key)
        else:
            kept[key] = value
    if left_out:
        kept["left_out"] = left_out
    return kept


def _is_long(value: Json) -> bool:
    if isinstance(value, str) and _MAX_CHARACTER_BYTES * len(value) < MAX_METADATA_VALUE_BYTES:
        return False
    return isinstance(value, (str, list, dict)) and len(dump(value)) > MAX_METADATA_VALUE_BYTES
