"""A scripted upstream for tests: the model of the demo, every request noted as it came, every answer in our hand.

    fake = FakeOpenAI().start()          # own thread, own loop: for synchronous and asynchronous tests alike
    fake.answer_next(Canned(status=503)) # the next request gets this; any number may wait in line
    ...
    fake.requests[0].headers             # in order and case as sent, repeats kept
    fake.stop()

Without a canned answer a request gets what the script says: a weekend trip, in three turns with tools, told by
any client in any of the three dialects.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict

from watchllm_proxy.demo.json_access import JsonObject, as_object, parse
from watchllm_proxy.demo.model import Pace, ScriptedModel
from watchllm_proxy.demo.script import DEMO_SCRIPT, Scenario, Turn, Use

START_TIMEOUT_S = 60.0
MAX_HANG_S = 60.0

TRIP_CUE = "You are trip-guide."
TRIP_ANSWER = (
    "Your weekend in Oslo: a walk at the harbour on Saturday, the jazz festival on Sunday, budget 140 EUR."
)

TRIP = Scenario(
    name="weekend-trip",
    cue=TRIP_CUE,
    turns=(
        Turn(text="Let me check the weather.", uses=(Use("get_weather", {"city": "Oslo"}),)),
        Turn(uses=(Use("get_weather", {"city": "Bergen"}), Use("list_events", {"city": "Oslo"}))),
        Turn(text=TRIP_ANSWER),
    ),
)
"""What the client programs in e2e/clients talk about: one tool, two tools at once, an answer."""

TEST_SCRIPT = (TRIP, *DEMO_SCRIPT)


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came in."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    client_address: str
    at_s: float  # monotonic

    @property
    def json(self) -> JsonObject:
        return as_object(parse(self.body))

    def header_names(self) -> list[str]:
        return sorted(name.lower() for name, _ in self.headers)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Canned:
    """An answer given as bytes. `chunks` are written one by one, `pause_s` apart; more than one of them, or
    `breaks_off`, makes it a chunked answer.

    breaks_off     the connection is reset after the last chunk, without the end of the body
    hangs          nothing more comes after the last chunk (before the head, if there is none) until the
                   client leaves
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    chunks: tuple[bytes, ...] = ()
    delay_s: float = 0.0
    pause_s: float = 0.0
    breaks_off: bool = False
    hangs: bool = False


class FakeOpenAI:
    """Listens on 127.0.0.1 while started. Thread-safe to look at; change the knobs between requests."""

    def __init__(self, script: Sequence[Scenario] = TEST_SCRIPT, pace: Pace | None = None) -> None:
        self.requests: list[Received] = []
        self.delay_s = 0.0  # before every scripted answer
        self.left_early = 0  # canned answers whose client was gone before their end
        self._model = ScriptedModel(script, pace or Pace(first_token_s=0.0, between_frames_s=0.0))
        self._canned: deque[Canned] = deque()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._started = threading.Event()
        self.port = 0

    @property
    def url(self) -> str:
        """What WATCHLLM_UPSTREAM_URL, or a client's base URL, is set to."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="fake-openai")
        self._thread.start()
        if not self._started.wait(START_TIMEOUT_S):
            raise TimeoutError("the scripted upstream did not start")
        return self

    def stop(self) -> None:
        if self._thread is None:
            return
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def answer_next(self, *answers: Canned) -> None:
        """The next requests get these, one each, in order."""
        self._canned.extend(answers)

    def reset(self) -> None:
        """Forget what was received and what was to be answered."""
        self.requests.clear()
        self._canned.clear()
        self.delay_s = 0.0
        self.left_early = 0

    def wait_for_requests(self, count: int, timeout_s: float = 10.0) -> list[Received]:
        """The requests, as soon as there are `count` of them."""
        deadline = time.monotonic() + timeout_s
        while len(self.requests) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.requests)} of {count} requests came within {timeout_s} s")
            time.sleep(0.01)
        return list(self.requests)

    # --- in the server's thread ---------------------------------------------------------------------

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        app = self._model.app()
        app.middlewares.append(self._note_and_answer)
        app.router.add_route("*", "/{tail:.*}", _unknown)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self._started.set()
        try:
            await self._stopping.wait()
        finally:
            await runner.cleanup()

    @web.middleware
    async def _note_and_answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests.append(await _received(request))
        if self._canned:
            with self._noting_who_leaves():
                return await _give(request, self._canned.popleft())
        await asyncio.sleep(self.delay_s)
        return await handler(request)

    @contextlib.contextmanager
    def _noting_who_leaves(self) -> Iterator[None]:
        try:
            yield
        except (asyncio.CancelledError, ConnectionError):
            self.left_early += 1
            raise


async def _give(request: web.Request, canned: Canned) -> web.StreamResponse:
    await asyncio.sleep(canned.delay_s)
    if canned.hangs and not canned.chunks:
        await asyncio.sleep(MAX_HANG_S)
    if len(canned.chunks) <= 1 and not canned.breaks_off and not canned.hangs:
        return _whole(canned)
    response = web.StreamResponse(status=canned.status, headers=CIMultiDict(canned.headers))
    await response.prepare(request)
    for chunk in canned.chunks:
        await response.write(chunk)
        await asyncio.sleep(canned.pause_s)
    if canned.breaks_off and request.transport is not None:
        request.transport.abort()
    if canned.hangs:
        await asyncio.sleep(MAX_HANG_S)
    return response


def _whole(canned: Canned) -> web.Response:
    return web.Response(status=canned.status, body=b"".join(canned.chunks), headers=CIMultiDict(canned.headers))


async def _received(request: web.Request) -> Received:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return Received(
        method=request.method,
        target=request.raw_path,
        headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers),
        body=await request.read(),
        client_address=f"{peer[0]}:{peer[1]}" if peer else "",
        at_s=time.monotonic(),
    )


async def _unknown(request: web.Request) -> web.Response:
    """Any other path: 404 in OpenAI's shape, naming what was asked for."""
    error = {
        "message": f"Unknown request URL: {request.method} {request.path}",
        "type": "invalid_request_error",
        "param": None,
        "code": "unknown_url",
    }
    return web.json_response({"error": error}, status=404)
