"""Which API a request speaks, and where each one keeps its messages."""

from __future__ import annotations

from functools import lru_cache

from watchllm_proxy.records import Api

_LAST_SEGMENT = {
    "completions": Api.COMPLETIONS,
    "embeddings": Api.EMBEDDINGS,
    "responses": Api.RESPONSES,
    "messages": Api.MESSAGES,
}
_FOREIGN_SEGMENTS = frozenset(
    {"threads", "organization", "organizations", "conversations", "fine_tuning", "models"}
)

SLOTS: dict[Api, tuple[str, ...]] = {
    Api.CHAT_COMPLETIONS: ("messages", "tools"),
    Api.COMPLETIONS: ("prompt",),
    Api.EMBEDDINGS: ("input",),
    Api.RESPONSES: ("instructions", "input", "tools"),
    Api.MESSAGES: ("system", "messages", "tools"),
    Api.OTHER: (),
}
"""The fields of a body that hold messages, in reading order. All of them are `Message.slot` values."""


def api_of(method: str, target: str) -> Api:
    """Told by method and path alone, whatever stands before it: /v1/…, /api/v1/…, /openai/deployments/NAME/….

    A GET of /v1/responses/ID, a list of stored completions, /v1/messages/count_tokens, /v1/threads/ID/messages and
    /v1/organization/usage/completions are Api.OTHER.
    """
    return _api_of(target.partition("?")[0]) if method.upper() == "POST" else Api.OTHER


@lru_cache(maxsize=64)
def _api_of(path: str) -> Api:
    segments = path.rstrip("/").split("/")
    if segments[-2:] == ["chat", "completions"]:
        return Api.CHAT_COMPLETIONS
    if _FOREIGN_SEGMENTS.intersection(segments):
        return Api.OTHER
    return _LAST_SEGMENT.get(segments[-1], Api.OTHER)
