"""The real `openai` client through the proxy, unchanged but for its base URL."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest

from tests.fixtures.raw_upstream import CHUNKED_HEAD, LAST_CHUNK, Conversation, answer, chunked
from tests.integration.proxy.conftest import KEY, Build, Rig


def completion(text: str) -> dict[str, object]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def events(words: list[str]) -> list[bytes]:
    chunks = [
        {
            "id": "c1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}],
        }
        for word in words
    ]
    return [b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks] + [b"data: [DONE]\n\n"]


async def scripted(conversation: Conversation) -> None:
    """A model that repeats the last message, word by word where a stream is asked for."""
    asked = json.loads(conversation.request.body)
    if conversation.request.target == b"/api/v1/embeddings":
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
        body = {"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}
        await conversation.send(answer(json.dumps(body).encode()))
        return
    text = asked["messages"][-1]["content"]
    if text == "too fast":
        error = {"error": {"message": "slow down", "type": "rate_limit", "code": "429", "param": None}}
        fields = ((b"Content-Type", b"application/json"), (b"Retry-After", b"0"))
        body_bytes = json.dumps(error).encode()
        await conversation.send(answer(body_bytes, start=b"HTTP/1.1 429 Slow Down", fields=fields))
    elif asked.get("stream"):
        await conversation.send(CHUNKED_HEAD)
        for event in events(text.split()):
            await conversation.send(chunked(event[:7]) + chunked(event[7:]))
        await conversation.send(LAST_CHUNK)
    else:
        await conversation.send(answer(json.dumps(completion(text)).encode()))


def base_url(rig: Rig) -> str:
    return f"http://127.0.0.1:{rig.server.port}/v1"


async def test_the_asynchronous_client(build: Build) -> None:
    rig = await build(scripted, allow_anonymous=False)
    async with openai.AsyncOpenAI(api_key=KEY.decode(), base_url=base_url(rig), max_retries=0) as client:
        done = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
        assert done.choices[0].message.content == "hello"
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "one two three"}], stream=True
        )
        assert [chunk.choices[0].delta.content async for chunk in stream] == ["one", "two", "three"]
        vectors = await client.embeddings.create(model="m", input="x", encoding_format="float")
        assert vectors.data[0].embedding == [0.5, 0.25]
        with pytest.raises(openai.RateLimitError, match="slow down"):
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "too fast"}])
    captured = await rig.captured(4)
    assert {one.project_id for one in captured} == {"shop"}
    assert [one.status for one in captured] == [200, 200, 200, 429]
    assert captured[1].response_body.content == b"".join(events(["one", "two", "three"]))


async def test_the_asynchronous_client_leaves_a_stream(build: Build) -> None:
    async def endless(conversation: Conversation) -> None:
        await conversation.send(CHUNKED_HEAD + chunked(events(["one"])[0]))
        await conversation.until_closed()

    rig = await build(endless)
    async with openai.AsyncOpenAI(api_key="sk-mine", base_url=base_url(rig), max_retries=0) as client:
        async with await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}], stream=True
        ) as stream:
            async for _ in stream:
                break
        await rig.until_upstream_left()
    assert len(await rig.captured()) == 1


async def test_a_bad_key_is_the_clients_authentication_error(build: Build) -> None:
    rig = await build(scripted, allow_anonymous=False)
    async with openai.AsyncOpenAI(api_key="lgw_proj_no", base_url=base_url(rig), max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError, match="project key is not valid"):
            await client.models.list()


async def test_the_synchronous_client(build: Build) -> None:
    rig = await build(scripted)

    def work() -> list[str | None]:
        with openai.OpenAI(api_key="sk-mine", base_url=base_url(rig), max_retries=0) as client:
            ask = client.chat.completions.create
            done = ask(model="m", messages=[{"role": "user", "content": "hello"}])
            stream = ask(model="m", messages=[{"role": "user", "content": "a b"}], stream=True)
            return [done.choices[0].message.content, *(chunk.choices[0].delta.content for chunk in stream)]

    assert await asyncio.to_thread(work) == ["hello", "a", "b"]
    assert len(await rig.captured(2)) == 2
