from __future__ import annotations

import pytest

from watchllm_proxy.decode.dialects import api_of
from watchllm_proxy.records import Api


@pytest.mark.parametrize(
    ("target", "api"),
    [
        ("/v1/chat/completions", Api.CHAT_COMPLETIONS),
        ("/v1/chat/completions/", Api.CHAT_COMPLETIONS),
        ("/v1/chat/completions?api-version=1", Api.CHAT_COMPLETIONS),
        ("/api/v1/chat/completions", Api.CHAT_COMPLETIONS),
        ("/openai/deployments/gpt-4o/chat/completions", Api.CHAT_COMPLETIONS),
        ("/models/chat/completions", Api.CHAT_COMPLETIONS),
        ("/v1/completions", Api.COMPLETIONS),
        ("/v1/embeddings", Api.EMBEDDINGS),
        ("/api/v1/responses", Api.RESPONSES),
        ("/v1/messages", Api.MESSAGES),
        ("/v1/messages?beta=true", Api.MESSAGES),
        ("/v1/messages/count_tokens", Api.OTHER),
        ("/v1/threads/thread_1/messages", Api.OTHER),
        ("/v1/organization/usage/completions", Api.OTHER),
        ("/v1/responses/resp_1/cancel", Api.OTHER),
        ("/v1/models", Api.OTHER),
        ("/v1/xcompletions", Api.OTHER),
    ],
)
def test_the_path_tells_the_dialect(target: str, api: Api) -> None:
    assert api_of("POST", target) is api


def test_only_a_post_asks_a_model() -> None:
    assert api_of("GET", "/v1/chat/completions") is Api.OTHER
    assert api_of("post", "/v1/chat/completions") is Api.CHAT_COMPLETIONS
