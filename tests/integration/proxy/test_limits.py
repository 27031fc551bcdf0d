"""Quota, cap, rate and share at the door: what is refused goes nowhere and is counted, what passes is as ever."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.fixtures.raw_upstream import Conversation, Message, answer, request
from tests.integration.proxy.conftest import KEY, OTHER_KEY, Build, until
from watchllm_proxy.grants import KEY_ID_HEADER, Grants, KeyGrant, ProjectTerms
from watchllm_proxy.proxy.auth import digest
from watchllm_proxy.proxy.limits.counts import read_snapshot
from watchllm_proxy.proxy.limits.months import Month
from watchllm_proxy.proxy.limits.report import UsageReport, write_report

SHOP = KeyGrant("shop", "key-of-shop")
OTHER = KeyGrant("other", "key-of-other")


def grants(*terms: ProjectTerms, shop: KeyGrant = SHOP) -> Grants:
    return Grants({digest(KEY): shop, digest(OTHER_KEY): OTHER}, {each.project_id: each for each in terms})


def ask(key: bytes = KEY, fields: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """With a key of the client's own, and the project's beside it."""
    return request(fields=((b"Authorization", b"Bearer sk-mine"), (b"X-WatchLLM-Key", key), *fields))


async def say_ok(conversation: Conversation) -> None:
    await conversation.send(answer())


def refused(message: Message) -> str:
    """The code of a 429 that says when to come back."""
    assert message.status == 429
    assert int({name.lower(): value for name, value in message.fields}[b"retry-after"]) >= 1
    error = json.loads(message.body)["error"]
    assert set(error) == {"message", "type", "code", "param"}
    return str(error["code"])


async def counted(directory: Path) -> dict[str, tuple[int, ...]]:
    """This month's counts by project, all days of them."""
    month = Month.of(time.time())
    found = await asyncio.to_thread(read_snapshot, directory / "usage" / month.name / "w0", month)
    assert found is not None
    sums: dict[str, tuple[int, ...]] = {}
    for day in found.days:
        before = sums.get(day.project_id, (0,) * len(day.counts))
        sums[day.project_id] = tuple(map(sum, zip(before, day.counts, strict=True)))
    return sums


async def test_beyond_the_quota_nothing_reaches_the_upstream_and_others_pass(build: Build, tmp_path: Path) -> None:
    rig = await build(say_ok, grants=grants(ProjectTerms("shop", plan="free", monthly_requests=3)))
    async with rig.client() as client:
        assert [(await client.ask(ask())).status for _ in range(3)] == [200] * 3
        assert [refused(await client.ask(ask())) for _ in range(4)] == ["quota_exceeded"] * 4
        assert (await client.ask(ask(OTHER_KEY))).status == 200
    assert len(rig.upstream.requests) == 4
    assert len(await rig.captured(4)) == 4
    assert await counted(tmp_path) == {"shop": (3, 0, 4, 0, 0, 0), "other": (1, 0, 0, 0, 0, 0)}


async def test_who_wants_it_has_what_is_beyond_passed_on_and_no_text_kept(build: Build, tmp_path: Path) -> None:
    terms = ProjectTerms("shop", monthly_requests=1, passes_over_quota=True)
    rig = await build(say_ok, grants=grants(terms))
    async with rig.client() as client:
        within, beyond = await client.ask(ask()), await client.ask(ask())
    assert (within.status, beyond.status) == (200, 200)
    assert [name for name, _ in within.fields] == [name for name, _ in beyond.fields], "no header tells of it"
    first, second = await rig.captured(2)
    assert ("X-WatchLLM-No-Content", "true") not in first.request_headers
    assert second.request_headers[-1] == ("X-WatchLLM-No-Content", "true")
    assert all(b"No-Content" not in name for sent in rig.upstream.requests for name, _ in sent.fields)
    assert await counted(tmp_path) == {"shop": (2, 1, 0, 0, 0, 0)}


async def test_the_key_of_a_call_is_captured_behind_what_the_client_sent_and_goes_nowhere(
    build: Build,
) -> None:
    rig = await build(say_ok)
    forged = ((KEY_ID_HEADER.encode(), b"somebody-elses"),)
    async with rig.client() as client:
        await client.ask(ask(fields=forged))
        await client.ask(request())
    with_key, without = await rig.captured(2)
    assert with_key.request_headers[-1] == (KEY_ID_HEADER, "key-of-shop")
    assert KEY_ID_HEADER not in dict(without.request_headers)
    assert all(b"key-of-shop" not in value for sent in rig.upstream.requests for _, value in sent.fields)


async def test_a_key_may_send_so_many_a_minute_and_its_project_s_other_calls_pass(
    build: Build, tmp_path: Path
) -> None:
    slow = KeyGrant("shop", "key-of-shop", requests_per_minute=2)
    rig = await build(say_ok, grants=grants(ProjectTerms("shop"), ProjectTerms("other"), shop=slow))
    async with rig.client() as client:
        assert [(await client.ask(ask())).status for _ in range(2)] == [200, 200]
        assert refused(await client.ask(ask())) == "rate_limit_exceeded"
        assert (await client.ask(ask(OTHER_KEY))).status == 200
    assert (await counted(tmp_path))["shop"] == (2, 0, 0, 1, 0, 0)


async def test_a_cap_that_is_reached_is_known_from_the_report_and_lifted_by_the_next(
    build: Build, tmp_path: Path
) -> None:
    rig = await build(say_ok, grants=grants(ProjectTerms("shop")))
    month = Month.of(time.time()).name

    async def status() -> int:
        async with rig.client() as client:
            return (await client.ask(ask())).status

    async def until_it_is(expected: int) -> None:
        async with asyncio.timeout(10):
            while await status() != expected:
                await asyncio.sleep(0.02)

    assert await status() == 200
    for capped, expected in ((frozenset({"shop"}), 429), (frozenset[str](), 200)):
        report = UsageReport(month, capped_projects=capped)
        await asyncio.to_thread(write_report, tmp_path / "usage", report)
        await until_it_is(expected)
    assert (await counted(tmp_path))["shop"][4] >= 1


async def test_a_flood_that_waits_for_its_answers_leaves_room_for_another_project(
    build: Build, tmp_path: Path
) -> None:
    gate = asyncio.Event()

    async def slow(conversation: Conversation) -> None:
        await gate.wait()
        await conversation.send(answer())

    rig = await build(slow, grants=grants(ProjectTerms("shop"), ProjectTerms("other")), max_requests=8)
    async with AsyncExitStack() as stack:
        flood = [await stack.enter_async_context(rig.client()) for _ in range(7)]
        for client in flood:
            await client.send(ask())
        refusals = [await client.answer() for client in flood[4:]]
        assert [refused(message) for message in refusals if message] == ["too_many_requests_of_project"] * 3
        other = await stack.enter_async_context(rig.client())
        await other.send(ask(OTHER_KEY))
        await until(lambda: len(rig.upstream.requests) == 5)
        gate.set()
        answers = [await client.answer() for client in (*flood[:4], other)]
        assert [message.status for message in answers if message] == [200] * 5
    assert await counted(tmp_path) == {"shop": (4, 0, 0, 0, 0, 3), "other": (1, 0, 0, 0, 0, 0)}


async def test_metrics_tell_what_was_refused(build: Build) -> None:
    rig = await build(say_ok, grants=grants(ProjectTerms("shop", monthly_requests=0)))
    async with rig.client() as client:
        for _ in range(2):
            await client.ask(ask())
        shown = (await client.ask(request("GET", "/metrics", None))).body.decode()
    assert 'watchllm_proxy_refusals_total{reason="quota"} 2.0' in shown


@pytest.mark.parametrize("content", ["", "nonsense", "[1]"])
async def test_a_report_that_cannot_be_read_stops_nobody(build: Build, tmp_path: Path, content: str) -> None:
    (tmp_path / "usage").mkdir()
    (tmp_path / "usage" / "report.json").write_text(content)
    rig = await build(say_ok, grants=grants(ProjectTerms("shop", monthly_requests=9)))
    async with rig.client() as client:
        assert (await client.ask(ask())).status == 200
