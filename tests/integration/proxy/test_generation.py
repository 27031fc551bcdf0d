"""The cost of a broken answer: asked for afterwards with the call's own key, and told to the capture log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from tests.fixtures.raw_upstream import CHUNKED_HEAD, LAST_CHUNK, Conversation, answer, chunked, request
from tests.integration.proxy.conftest import KEY, Build, Rig, until
from watchllm_proxy.proxy import generation
from watchllm_proxy.records import SETTLES_HEADER, Exchange, ExchangeEnd, settlement_id

HEAD = CHUNKED_HEAD.replace(b"\r\n\r\n", b"\r\nX-Generation-Id: gen-17\r\n\r\n")
COST = b'{"data": {"id": "gen-17", "total_cost": 0.0015}}'


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "TRIES_AFTER_S", (0.0, 0.01, 0.01, 0.01))


class Router:
    """An upstream like OpenRouter: answers break (`breaks`) or wait for their client to leave."""

    def __init__(self, *lookups: bytes, breaks: bool = False, head: bytes = HEAD) -> None:
        self.asked: list[Conversation] = []
        self._lookups = list(lookups) or [answer(COST)]
        self._breaks = breaks
        self._head = head

    async def __call__(self, conversation: Conversation) -> None:
        if b"/generation?" in conversation.request.target:
            self.asked.append(conversation)
            await conversation.send(self._lookups.pop(0) if len(self._lookups) > 1 else self._lookups[0])
            return
        await conversation.send(self._head + chunked(b"data: 1\n\n"))
        if self._breaks:
            conversation.reset()
        else:
            await conversation.until_closed()


async def leave(rig: Rig, headers: Iterable[tuple[bytes, bytes]] = ()) -> Exchange:
    """A client that leaves in the middle of its answer; the exchange as it was captured."""
    async with rig.client() as client:
        await client.send(request(fields=tuple(headers)))
        await client.reader.readuntil(b"data: 1\n\n")
    await until(lambda: bool(rig.log.exchanges))
    return rig.log.exchanges[0]


def looked_up(rig: Rig) -> list[Exchange]:
    return [each for each in rig.log.exchanges if "/generation?" in each.target]


async def test_what_an_answer_cost_that_its_client_left_is_asked_and_captured(build: Build) -> None:
    router = Router()
    rig = await build(router)
    call = await leave(rig, [(b"Authorization", b"Bearer sk-own")])
    await until(lambda: len(rig.log.exchanges) == 2)
    (found,) = looked_up(rig)
    assert router.asked[0].request.target == b"/api/v1/generation?id=gen-17"
    assert router.asked[0].request.value(b"authorization") == b"Bearer sk-own"
    assert found.exchange_id == settlement_id(call.exchange_id)
    assert (found.method, found.target, found.status) == ("GET", "/v1/generation?id=gen-17", 200)
    assert dict(found.request_headers)[SETTLES_HEADER] == str(call.exchange_id)
    assert (found.project_id, found.end) == (call.project_id, ExchangeEnd.COMPLETE)
    assert found.response_body.content == COST


async def test_the_key_of_the_call_is_not_captured(build: Build) -> None:
    rig = await build(Router())
    await leave(rig, [(b"Authorization", b"Bearer sk-own-secret")])
    await until(lambda: len(rig.log.exchanges) == 2)
    assert "sk-own-secret" not in repr(rig.log.exchanges)


async def test_a_project_key_is_replaced_as_it_was_for_the_call(build: Build) -> None:
    router = Router()
    rig = await build(router)
    call = await leave(rig, [(b"Authorization", b"Bearer " + KEY)])
    await until(lambda: len(rig.log.exchanges) == 2)
    assert router.asked[0].request.value(b"authorization") == b"Bearer sk-provider-of-shop"
    assert KEY not in b"".join(value for _, value in router.asked[0].request.fields)
    assert {each.project_id for each in rig.log.exchanges} == {call.project_id} == {"shop"}


async def test_an_answer_that_the_upstream_broke_is_asked_for_too(build: Build) -> None:
    rig = await build(Router(breaks=True))
    async with rig.client() as client:
        await client.send(request())
        await client.reader.read()
    await until(lambda: len(rig.log.exchanges) == 2)
    assert rig.log.exchanges[0].end is ExchangeEnd.UPSTREAM_BROKEN


async def test_it_is_asked_again_until_the_upstream_knows(build: Build) -> None:
    not_yet = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    busy = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    router = Router(not_yet, busy, answer(COST))
    rig = await build(router)
    await leave(rig)
    await until(lambda: len(rig.log.exchanges) == 2)
    assert len(router.asked) == 3
    assert len(looked_up(rig)) == 1


@pytest.mark.parametrize(("status", "tries"), [(b"404 Not Found", 4), (b"401 Unauthorized", 1), (b"500 Oops", 4)])
async def test_what_is_not_told_is_given_up_and_counted(build: Build, status: bytes, tries: int) -> None:
    router = Router(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
    rig = await build(router)
    await leave(rig)
    counts = rig.server._counters.generation_lookups
    await until(lambda: counts["given_up"] == 1)
    assert len(router.asked) == tries
    assert looked_up(rig) == []


@pytest.mark.parametrize(
    "head",
    [CHUNKED_HEAD, CHUNKED_HEAD.replace(b"\r\n\r\n", b"\r\nX-Generation-Id: gen/../../keys?x=1&\r\n\r\n")],
    ids=["not told", "no id"],
)
async def test_nothing_is_asked_without_an_id_to_ask_for(build: Build, head: bytes) -> None:
    router = Router(head=head)
    rig = await build(router)
    await leave(rig)
    assert router.asked == []
    assert not rig.server._counters.generation_lookups


async def test_a_whole_answer_is_not_asked_about(build: Build) -> None:
    async def whole(conversation: Conversation) -> None:
        await conversation.send(HEAD + chunked(b"data: 1\n\n") + LAST_CHUNK)

    rig = await build(whole)
    async with rig.client() as client:
        await client.send(request())
        await client.reader.readuntil(LAST_CHUNK)
    await until(lambda: bool(rig.log.exchanges))
    assert not rig.server._handler.lookups._under_way  # type: ignore[union-attr]


async def test_it_can_be_switched_off(build: Build) -> None:
    router = Router()
    rig = await build(router, ask_generation=False)
    await leave(rig)
    assert rig.server._handler.lookups is None
    assert router.asked == []


async def test_no_more_wait_than_may_and_a_stop_gives_up_all(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "TRIES_AFTER_S", (60.0,))
    monkeypatch.setattr(generation, "MAX_WAITING", 2)
    rig = await build(Router())
    await asyncio.gather(*(leave(rig) for _ in range(3)))
    counts = rig.server._counters.generation_lookups
    await until(lambda: counts["given_up"] == 1)
    await rig.server.stop()
    assert counts["given_up"] == 3
    assert looked_up(rig) == []
