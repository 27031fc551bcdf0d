"""Keys, the console behind, operations, and the end of a server."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.fixtures.raw_upstream import (
    CHUNKED_HEAD,
    LAST_CHUNK,
    Conversation,
    RawUpstream,
    answer,
    chunked,
    request,
)
from tests.integration.proxy.conftest import KEY, OTHER_KEY, Build, Rig, until
from watchllm_proxy.outcomes import CaptureCounts, ShedReason
from watchllm_proxy.proxy import metrics, operations
from watchllm_proxy.proxy.client import ClientConnection
from watchllm_proxy.proxy.tee import Spill
from watchllm_proxy.records import Exchange, ExchangeEnd


async def say_ok(conversation: Conversation) -> None:
    await conversation.send(answer(conversation.request.body))


BEARER = (b"Authorization", b"Bearer " + KEY)


# --- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ((BEARER,), (b"Authorization", b"Bearer sk-provider-of-shop")),
        (((b"authorization", b"bearer " + KEY),), (b"authorization", b"Bearer sk-provider-of-shop")),
        (((b"x-api-key", KEY),), (b"x-api-key", b"sk-provider-of-shop")),
        (((b"api-key", KEY),), (b"api-key", b"sk-provider-of-shop")),
        (
            ((b"Authorization", b"Bearer sk-mine"), (b"X-WatchLLM-Key", KEY)),
            (b"Authorization", b"Bearer sk-mine"),
        ),
        (((b"x-api-key", b"sk-mine"), (b"X-WatchLLM-Key", KEY)), (b"x-api-key", b"sk-mine")),
    ],
)
async def test_a_project_key_is_exchanged_and_goes_nowhere(
    build: Build, sent: tuple[tuple[bytes, bytes], ...], seen: tuple[bytes, bytes]
) -> None:
    rig = await build(say_ok, allow_anonymous=False)
    async with rig.client() as client:
        assert (await client.ask(request(fields=sent))).status == 200
    assert rig.upstream.requests[0].fields[1:-1] == [seen]
    (captured,) = await rig.captured()
    assert captured.project_id == "shop"
    assert KEY.decode() not in repr(captured)
    assert "sk-" not in repr(captured)


@pytest.mark.parametrize(
    "sent",
    [
        (b"Authorization", b"Bearer lgw_proj_unknown"),
        (b"Authorization", b"Bearer " + KEY + b"x"),
        (b"Authorization", b"Bearer " + KEY[:-1]),
        (b"x-api-key", b"lgw_proj_"),
        (b"X-WatchLLM-Key", b"malformed"),
        (b"X-WatchLLM-Key", b""),
    ],
)
@pytest.mark.parametrize("allow_anonymous", [True, False])
async def test_every_bad_project_key_gets_the_same_401(
    build: Build, sent: tuple[bytes, bytes], allow_anonymous: bool
) -> None:
    rig = await build(say_ok, allow_anonymous=allow_anonymous)
    async with rig.client() as client:
        got = await client.ask(request(fields=(sent,)))
        assert (got.status, json.loads(got.body)["error"]["code"]) == (401, "invalid_api_key")
        assert got.body == (await client.ask(request(fields=((b"api-key", b"lgw_proj_other"),)))).body
    assert rig.upstream.connections == 0
    assert rig.log.exchanges == []


@pytest.mark.parametrize(
    "field",
    [
        (b"Authorization", KEY),
        (b"Authorization", b"Bearer\t" + KEY),
        (b"Authorization", b"Basic " + KEY),
        (b"Authorization", b"Bearer Bearer " + KEY),
        (b"x-api-key", b"Bearer " + KEY),
        (b"x-goog-api-key", KEY),
        (b"Cookie", b"key=" + KEY),
        (b"X-Odd", KEY),
        (b"X-Odd-" + KEY, b"1"),
        None,
    ],
)
@pytest.mark.parametrize("with_key", [True, False])
async def test_a_project_key_in_a_wrong_place_goes_nowhere(
    build: Build, field: tuple[bytes, bytes] | None, with_key: bool
) -> None:
    rig = await build(say_ok, allow_anonymous=True)
    fields = (((b"X-WatchLLM-Key", KEY),) if with_key else ()) + ((field,) if field else ())
    target = "/v1/models" if field else "/v1/models?k=" + KEY.decode()
    async with rig.client() as client:
        got = await client.ask(request("GET", target, body=None, fields=fields))
    assert (got.status, rig.upstream.connections, rig.log.exchanges) == (400, 0, [])
    assert KEY not in got.body


async def test_a_provider_key_may_be_the_project_key_of_another_watchllm(build: Build) -> None:
    rig = await build(say_ok, upstream_api_key="lgw_proj_further_up")
    async with rig.client() as client:
        assert (await client.ask(request(fields=((b"x-api-key", OTHER_KEY),)))).status == 200
    assert rig.upstream.requests[0].value(b"x-api-key") == b"lgw_proj_further_up"


async def test_without_a_key_calls_need_the_setting(build: Build) -> None:
    rig = await build(say_ok, allow_anonymous=False)
    async with rig.client() as client:
        got = await client.ask(request(fields=((b"Authorization", b"Bearer sk-mine"),)))
        assert (got.status, json.loads(got.body)["error"]["code"]) == (401, "missing_api_key")
    assert rig.upstream.connections == 0


async def test_two_different_project_keys_are_refused(build: Build) -> None:
    rig = await build(say_ok)
    async with rig.client() as client:
        got = await client.ask(request(fields=(BEARER, (b"X-WatchLLM-Key", b"lgw_proj_other"))))
    assert (got.status, rig.upstream.connections) == (400, 0)


async def test_the_operators_key_is_never_spent_on_anonymous_calls(build: Build) -> None:
    rig = await build(say_ok, upstream_api_key="sk-operator-secret")
    async with rig.client() as client:
        await client.ask(request())
    assert b"operator" not in repr(rig.upstream.requests[0]).encode()


# --- the console -----------------------------------------------------------------------------------

SESSION = (b"Set-Cookie", b"watchllm_session=1; Path=/")


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[RawUpstream]:
    async def script(conversation: Conversation) -> None:
        if conversation.request.target == b"/readyz":
            checks = {"recorder": {"status": "degraded", "detail": "10 s behind"}}
            await conversation.send(answer(json.dumps({"status": "degraded", "checks": checks}).encode()))
        elif conversation.request.target == b"/metrics":
            await conversation.send(answer(b"watchllm_recorder_lag_seconds 2.5\n"))
        elif conversation.request.target == b"/login":
            await conversation.send(answer(fields=(SESSION,)))
        else:
            await conversation.send(CHUNKED_HEAD + chunked(b"page of ", conversation.request.target) + LAST_CHUNK)

    served = RawUpstream(script)
    await served.start(path=str(tmp_path / "console.sock"))
    yield served
    await served.stop()


async def test_other_paths_pass_to_the_console_uncaptured(
    build: Build, console: RawUpstream, tmp_path: Path
) -> None:
    rig = await build(say_ok, console_socket=tmp_path / "console.sock", allow_anonymous=False)
    fields = (
        (b"X-Forwarded-For", b"9.9.9.9"),
        (b"X-Forwarded-Proto", b"https"),
        (b"Forwarded", b"for=9.9.9.9"),
        (b"X-WatchLLM-Key", KEY),
        (b"X-Run-Id", b"r"),
        (b"Cookie", b"a=b"),
        (b"Connection", b"X-Hop"),
        (b"X-Hop", b"1"),
    )
    async with rig.client() as client:
        for target in ("/dashboard/runs?q=%20", "/api/agent-runs", "/", "/v1", "/v10/x"):
            got = await client.ask(request("GET", target, body=None, fields=fields, host=b"my.host:8787"))
            assert got.body == b"page of " + target.encode()
            assert got.value(b"X-WatchLLM-Request-Id") is not None
    assert console.requests[0].fields == [
        (b"Host", b"my.host:8787"),
        (b"X-WatchLLM-Key", KEY),
        (b"X-Run-Id", b"r"),
        (b"Cookie", b"a=b"),
        (b"X-Forwarded-For", b"127.0.0.1"),
    ]
    assert rig.upstream.connections == 0
    assert rig.log.exchanges == []


async def test_only_the_console_sets_a_session_of_the_dashboard(
    build: Build, console: RawUpstream, tmp_path: Path
) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.send(answer(fields=(SESSION, (b"Set-Cookie", b"lb=2"))))

    rig = await build(script, console_socket=tmp_path / "console.sock")
    async with rig.client() as client:
        assert (await client.ask(request())).values(b"set-cookie") == [b"lb=2"]
        login = await client.ask(request("POST", "/login", body=b""))
    assert login.values(b"set-cookie") == [SESSION[1]]


async def test_a_console_that_is_away_is_said_in_words(build: Build, tmp_path: Path) -> None:
    rig = await build(say_ok, console_socket=tmp_path / "console.sock")
    async with rig.client() as client:
        got = await client.ask(request("GET", "/api/agent-runs", body=None))
        assert (got.status, json.loads(got.body)["error"]["code"]) == (502, "console_unreachable")
        page = await client.ask(request("GET", "/dashboard", body=None, fields=((b"Accept", b"text/html,*/*"),)))
        assert (page.status, page.value(b"content-type")) == (502, b"text/html; charset=utf-8")
        assert b"dashboard" in page.body
        assert (await client.ask(request())).status == 200, "calls pass all the same"


async def test_without_a_console_other_paths_are_404(build: Build) -> None:
    rig = await build(say_ok)
    async with rig.client() as client:
        assert (await client.ask(request("GET", "/dashboard", body=None))).status == 404


async def test_an_exchange_is_captured_before_its_client_has_the_end(build: Build) -> None:
    """Then whoever saw its answer whole can count on the capture, whatever happens to this process next."""
    rig = await build(say_ok)
    order = []
    append, send = rig.log.append, ClientConnection.send

    def noted_append(exchange: Exchange, spills: tuple[Spill | None, Spill | None]) -> ShedReason | None:
        order.append("captured")
        return append(exchange, spills)

    def noted_send(connection: ClientConnection, parts: list[bytes]) -> None:
        order.append("sent")
        send(connection, parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rig.log, "append", noted_append)
        patch.setattr(ClientConnection, "send", noted_send)
        async with rig.client() as client:
            await client.ask(request())
    assert order == ["captured", "sent"]


# --- operations ------------------------------------------------------------------------------------


async def ready(rig: Rig) -> tuple[int, dict[str, object]]:
    async with rig.client() as client:
        got = await client.ask(request("GET", "/readyz", body=None))
        return got.status, json.loads(got.body)


async def test_readiness_tells_of_the_console_and_what_it_says_itself(
    build: Build, console: RawUpstream, tmp_path: Path
) -> None:
    rig = await build(say_ok, console_socket=tmp_path / "console.sock")
    status, said = await ready(rig)
    assert (status, said["status"]) == (200, "degraded")
    assert said["checks"] == {
        "proxy": {"status": "ok"},
        "capture_log": {"status": "ok"},
        "console": {"status": "ok"},
        "recorder": {"status": "degraded", "detail": "10 s behind"},
    }
    await console.stop()
    (tmp_path / "console.sock").unlink(missing_ok=True)
    status, said = await ready(rig)
    assert (status, said["status"]) == (200, "degraded")
    assert "console is away" in json.dumps(said)


async def test_readiness_tells_of_captures_that_are_shed_until_they_are_not(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await build(say_ok)
    assert await ready(rig) == (
        200,
        {"status": "ok", "checks": {"proxy": {"status": "ok"}, "capture_log": {"status": "ok"}}},
    )
    rig.log.refusal = ShedReason.DISK_FULL
    async with rig.client() as client:
        assert (await client.ask(request())).status == 200
    status, said = await ready(rig)
    assert (status, said["status"]) == (200, "degraded")
    assert "disk_full (1 since the start)" in said["checks"]["capture_log"]["detail"]
    assert (await ready(rig))[1] == said, "whoever asks next is told the same"
    rig.log.refusal = None
    async with rig.client() as client:
        await client.ask(request())
    monkeypatch.setattr(operations, "SHED_TOLD_S", 0.0)
    assert (await ready(rig))[1]["status"] == "ok"


async def test_readiness_tells_of_captures_that_another_worker_sheds(build: Build) -> None:
    rig = await build(say_ok)
    rig.log.others = CaptureCounts(5, {ShedReason.LOG_FULL: 2})
    said = (await ready(rig))[1]
    assert said["checks"]["capture_log"]["detail"].endswith("log_full (2 since the start)")


async def test_metrics_count_what_passed_over_all_workers(build: Build) -> None:
    rig = await build(say_ok, workers=2)
    run_dir = rig.server._settings.run_dir
    async with rig.client() as client:
        await client.ask(request(body=b"12345"))
        await until((run_dir / "metrics-w0.json").exists)
        other = metrics.snapshot(metrics.Counters(request_bytes=100), metrics.Gauges(0, 0, 0, 1))
        rig.log.others = CaptureCounts(7, {ShedReason.LOG_FULL: 3})
        await asyncio.to_thread(metrics.write_snapshot, run_dir / "metrics-w1.json", other)
        text = (await client.ask(request("GET", "/metrics", body=None))).body.decode()
    assert "watchllm_proxy_request_body_bytes_total 105.0" in text
    assert 'watchllm_proxy_exchanges_total{end="complete"} 1.0' in text
    assert 'watchllm_proxy_responses_total{status="2xx"} 1.0' in text
    assert "watchllm_capture_accepted_total 8.0" in text
    assert 'watchllm_capture_shed_total{reason="log_full"} 3.0' in text
    assert "watchllm_proxy_upstream_connections 2.0" in text
    assert 'watchllm_proxy_overhead_seconds_bucket{le="+Inf"} 1.0' in text


async def test_metrics_go_on_with_the_consoles_and_do_without(
    build: Build, console: RawUpstream, tmp_path: Path
) -> None:
    rig = await build(say_ok, console_socket=tmp_path / "console.sock")
    async with rig.client() as client:
        text = (await client.ask(request("GET", "/metrics", body=None))).body
        assert text.endswith(b"\nwatchllm_recorder_lag_seconds 2.5\n")
        await console.stop()
        text = (await client.ask(request("GET", "/metrics", body=None))).body
        assert b"watchllm_proxy_in_flight" in text
        assert b"recorder" not in text


async def test_operations_take_get_and_head_only(build: Build) -> None:
    rig = await build(say_ok)
    async with rig.client() as client:
        assert (await client.ask(request("HEAD", "/healthz", body=None), has_body=False)).status == 200
        assert (await client.ask(request("GET", "/healthz", body=None))).body == b'{"status": "ok"}'
        assert (await client.ask(request("POST", "/healthz"))).status == 405


async def test_a_bug_of_ours_is_a_500_in_words_and_no_traceback(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await build(say_ok)
    monkeypatch.setattr(rig.server._handler, "_admit", lambda head: 1 / 0)
    with capture_logs() as lines:
        async with rig.client() as client:
            got = await client.ask(request())
    assert [(line["event"], line["error"]) for line in lines] == [("proxy.bug", "ZeroDivisionError")]
    assert (got.status, json.loads(got.body)["error"]["code"]) == (500, "internal_error")
    assert b"Zero" not in got.body


async def test_no_key_or_text_reaches_the_logs(
    build: Build, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)

    async def script(conversation: Conversation) -> None:
        await conversation.send(CHUNKED_HEAD + chunked(b"canary-answer") + b"zz\r\n")

    rig = await build(script)
    async with rig.client() as client:
        await client.ask(request(body=b"canary-question", fields=(BEARER,)))
    async with rig.client() as client:
        await client.ask(b"GET /v1/canary-path HTTP/1.1\nHost: canary-host\n\n")
    said = caplog.text + "".join(capfd.readouterr())
    assert "canary" not in said
    assert KEY.decode() not in said
    assert "sk-provider" not in said


# --- the end ---------------------------------------------------------------------------------------


class Slow:
    """An upstream whose streams wait to be finished."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def __call__(self, conversation: Conversation) -> None:
        await conversation.send(CHUNKED_HEAD + chunked(b"first"))
        waiting = asyncio.ensure_future(conversation.until_closed())
        releasing = asyncio.ensure_future(self.release.wait())
        await asyncio.wait([waiting, releasing], return_when=asyncio.FIRST_COMPLETED)
        for task in (waiting, releasing):
            task.cancel()
        await asyncio.gather(waiting, releasing, return_exceptions=True)
        if self.release.is_set():
            await conversation.send(chunked(b"last") + LAST_CHUNK)


async def test_draining_finishes_open_answers_and_takes_no_new_ones(build: Build) -> None:
    slow = Slow()
    rig = await build(slow, drain_timeout_s=20.0)
    async with rig.client() as idle, rig.client() as busy, rig.client() as late:
        port = rig.server.port
        assert (await idle.ask(request("GET", "/healthz", body=None))).status == 200
        await busy.send(request())
        await busy.reader.readuntil(b"first\r\n")
        await late.send(b"POST /v1/x HTTP/1.1\r\n")
        draining = asyncio.ensure_future(rig.server.drain())
        assert await idle.is_closed(), "idle connections are closed at once"
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", port)
        assert not draining.done()
        slow.release.set()
        assert await busy.reader.read() == chunked(b"last") + LAST_CHUNK
        await asyncio.wait_for(draining, 2)
    (captured,) = await rig.captured()
    assert captured.end is ExchangeEnd.COMPLETE


@pytest.mark.parametrize("framing", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
async def test_draining_waits_for_the_rest_of_a_request(build: Build, framing: bytes) -> None:
    def framed(piece: bytes) -> bytes:
        return chunked(piece) if b"chunked" in framing else piece

    rig = await build(say_ok)
    async with rig.client() as client:
        await client.send(b"POST /v1/x HTTP/1.1\r\nHost: proxy\r\n" + framing + b"\r\n\r\n" + framed(b"begi"))
        await until(lambda: len(rig.server._handler.relays) == 1)
        draining = asyncio.ensure_future(rig.server.drain())
        await until(lambda: rig.server._handler.is_draining)
        got = await client.ask(framed(b"n end") + (LAST_CHUNK if b"chunked" in framing else b""))
        assert (got.status, got.value(b"connection")) == (200, b"close")
        assert await client.is_closed()
        await asyncio.wait_for(draining, 2)
    assert [one.body for one in rig.upstream.requests] == [b"begin end"]


async def tell_for_ever(conversation: Conversation) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    await conversation.send(head + chunked(b"first"))
    await conversation.until_closed()


async def test_draining_waits_for_a_models_stream_and_not_for_the_consoles(build: Build, tmp_path: Path) -> None:
    console = RawUpstream(tell_for_ever)
    await console.start(path=str(tmp_path / "console.sock"))
    rig = await build(tell_for_ever, console_socket=tmp_path / "console.sock", drain_timeout_s=60.0)
    async with rig.client() as page, rig.client() as caller:
        await caller.send(request())
        await caller.reader.readuntil(b"first\r\n")
        await page.send(request("GET", "/api/agent-runs/r/events", body=None))
        await page.reader.readuntil(b"first\r\n")
        draining = asyncio.ensure_future(rig.server.drain())
        assert await page.reader.read() == LAST_CHUNK, "it ends as a whole answer does"
        assert not draining.done(), "the model's stream goes on"
        await rig.server.stop()
        await draining
        assert not (await caller.reader.read()).endswith(LAST_CHUNK)
    await console.stop()


async def test_what_outlasts_the_drain_limit_is_cut_and_captured(build: Build) -> None:
    rig = await build(Slow(), drain_timeout_s=0.2)
    async with rig.client() as client:
        await client.send(request())
        await client.reader.readuntil(b"first\r\n")
        await asyncio.wait_for(rig.server.drain(), 3)
        assert not (await client.reader.read()).endswith(LAST_CHUNK)
    (captured,) = await rig.captured()
    assert captured.response_body.content == b"first"
    assert "stopped" in (captured.error_detail or "")
    await rig.until_upstream_left()


async def test_a_second_signal_cuts_at_once(build: Build) -> None:
    rig = await build(Slow(), drain_timeout_s=60.0)
    async with rig.client() as client:
        await client.send(request())
        await client.reader.readuntil(b"first\r\n")
        draining = asyncio.ensure_future(rig.server.drain())
        await asyncio.sleep(0.05)
        await asyncio.wait_for(rig.server.stop(), 2)
        await asyncio.wait_for(draining, 2)
    assert len(await rig.captured()) == 1


async def test_a_request_cut_before_its_answer_is_told_503(build: Build) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.until_closed()

    rig = await build(script, drain_timeout_s=0.1)
    async with rig.client() as client:
        await client.send(request())
        await until(lambda: len(rig.upstream.requests) == 1)
        await asyncio.wait_for(rig.server.drain(), 3)
        got = await client.answer()
        assert got is not None
        assert got.status == 503
