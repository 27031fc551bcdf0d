"""Numbered questions over HTTP at a steady rate, and a model that answers them, each in a process of its own.

    python -m bench.questions model                       prints its port and serves until it is ended
    python -m bench.questions ask PORT PER_S FIRST END    prints what it saw as one line of JSON

An open loop: a question goes out when it is due, however slow the answers are, and its time counts from then. Bare
protocols on uvloop, so that what a question costs here is small beside what it costs the one who is measured.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop

CALLS_A_RUN = 10
ANSWER_TIMEOUT_S = 10.0
PROJECT = Path(__file__).resolve().parents[1]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_QUESTION = re.compile(rb"question (\d+)\b")


@dataclass(slots=True)
class Asked:
    """What the clients saw: of each question the seconds from when it was due to its whole answer, or why not."""

    latencies_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def answer_to(number: int) -> str:
    """Unique, so that what is stored tells which question it answers."""
    return f"answer to {number}"


def run_of(number: int) -> str:
    """The run that a question names."""
    return f"outage-{number // CALLS_A_RUN}"


def ask(port: int, per_s: int, numbers: range, meanwhile: Callable[[], None]) -> Asked:
    """`numbers` asked from a process of their own; `meanwhile` is called about once a second."""
    words = [str(word) for word in (port, per_s, numbers.start, numbers.stop)]
    command = [sys.executable, "-m", "bench.questions", "ask", *words]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE) as process:
        try:
            while True:
                meanwhile()
                try:
                    said, _ = process.communicate(timeout=1)
                    break
                except subprocess.TimeoutExpired:
                    continue
        finally:
            process.kill()  # one that has ended does not mind
    if process.returncode != 0:
        raise RuntimeError(f"the clients ended with {process.returncode}")
    return Asked(**json.loads(said))


# --- messages of HTTP ---------------------------------------------------------------------------------


class _Framed(asyncio.Protocol):
    """Calls `received` with each message that has come whole. Only what has a Content-Length is understood."""

    transport: asyncio.WriteTransport

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)  # uvloop's are of no class of asyncio's

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[: end + 2]
            length = _LENGTH.search(head)
            if length is None:
                self.received(head, None)
                self.transport.abort()
                return
            whole = end + 4 + int(length[1])
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
            self.received(head, body)

    def received(self, head: bytes, body: bytes | None) -> None:
        raise NotImplementedError


# --- the model ----------------------------------------------------------------------------------------


class _Model(_Framed):
    def received(self, head: bytes, body: bytes | None) -> None:
        asked = _QUESTION.search(body or b"")
        if asked is None:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            return
        number = int(asked[1])
        message = {"role": "assistant", "content": answer_to(number)}
        answer = {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
        }
        self.transport.write(_message(b"HTTP/1.1 200 OK", b"", json.dumps(answer).encode()))


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Model, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# --- the clients --------------------------------------------------------------------------------------


class _Client(_Framed):
    """One connection, one question at a time."""

    def __init__(self, clients: _Clients) -> None:
        super().__init__()
        self._clients = clients
        self._number: int | None = None
        self._due_s = 0.0

    def ask(self, port: int, number: int, due_s: float) -> None:
        self._number, self._due_s = number, due_s
        question = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"question {number}"}]}
        head = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer sk-bench\r\nX-Run-Id: {run_of(number)}\r\n"
        line = b"POST /v1/chat/completions HTTP/1.1"
        self.transport.write(_message(line, head.encode(), json.dumps(question).encode()))

    def received(self, head: bytes, body: bytes | None) -> None:
        number, self._number = self._number, None
        if number is None:
            return
        status = head[9:12].decode("ascii", "replace")
        if status == "200" and body is not None and f'"{answer_to(number)}"'.encode() in body:
            self._clients.answered(time.monotonic() - self._due_s)
        else:
            self._clients.failed(f"{number}: status {status}")
        self._clients.idle.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._number is not None:
            self._clients.failed(f"{self._number}: the connection ended before the answer")
            self._number = None
        if self in self._clients.idle:
            self._clients.idle.remove(self)


class _Clients:
    """As many connections as it takes; `idle` are those without a question."""

    def __init__(self, port: int) -> None:
        self.idle: list[_Client] = []
        self._port = port
        self._asked = Asked()
        self._waiting = 0
        self._all_ended = asyncio.Event()

    async def ask(self, per_s: int, numbers: range) -> Asked:
        if not numbers:
            return self._asked
        self._waiting = len(numbers)
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as task_group:
            for index, number in enumerate(numbers):
                due_s = began_s + index / per_s
                if (early_s := due_s - time.monotonic()) > 0:
                    await asyncio.sleep(early_s)
                if self.idle:
                    self.idle.pop().ask(self._port, number, due_s)
                else:
                    task_group.create_task(self._ask_on_a_new_connection(number, due_s))
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._all_ended.wait()
        except TimeoutError:
            self._asked.errors += [f"no answer within {ANSWER_TIMEOUT_S:.0f} s"] * self._waiting
        return self._asked

    def answered(self, latency_s: float) -> None:
        self._asked.latencies_s.append(latency_s)
        self._end_one()

    def failed(self, why: str) -> None:
        self._asked.errors.append(why)
        self._end_one()

    def _end_one(self) -> None:
        self._waiting -= 1
        if self._waiting == 0:
            self._all_ended.set()

    async def _ask_on_a_new_connection(self, number: int, due_s: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, client = await loop.create_connection(lambda: _Client(self), "127.0.0.1", self._port)
        except OSError as exc:
            self.failed(f"{number}: {type(exc).__name__}")
            return
        client.ask(self._port, number, due_s)


def _message(line: bytes, head: bytes, body: bytes) -> bytes:
    plain = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return b"%b\r\n%b%b%b" % (line, head, plain, body)


def _main(words: list[str]) -> None:
    gc.disable()  # a minute or two, without cycles: no pause of ours is to be seen in the figures
    match words:
        case ["model"]:
            uvloop.run(_serve())
        case ["ask", *numbers]:
            port, per_s, first, end = map(int, numbers)
            asked = uvloop.run(_Clients(port).ask(per_s, range(first, end)))
            print(json.dumps({"latencies_s": asked.latencies_s, "errors": asked.errors}))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    _main(sys.argv[1:])
