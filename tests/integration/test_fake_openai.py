"""The scripted upstream's own promises: what other tests rest on."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Iterator

import pytest

from tests.fake_openai import TRIP_CUE, Canned, FakeOpenAI

BODY = b'{"model": "m", "messages": [{"role": "system", "content": "%s"}]}' % TRIP_CUE.encode()


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as started:
        yield started


def _ask(fake: FakeOpenAI) -> tuple[int, list[str], bytes]:
    """Status, X-A header values and body. Raises what http.client raises when the body never ends."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", fake.port, timeout=5)) as connection:
        headers = {"X-Odd-Case": "1", "Authorization": "Bearer k"}
        connection.request("POST", "/v1/chat/completions?x=1", BODY, headers)
        with connection.getresponse() as response:
            return response.status, response.headers.get_all("X-A", []), response.read()


def test_requests_are_noted_as_they_came(fake: FakeOpenAI) -> None:
    _ask(fake)

    (noted,) = fake.requests
    assert (noted.method, noted.target, noted.body) == ("POST", "/v1/chat/completions?x=1", BODY)
    assert ("X-Odd-Case", "1") in noted.headers
    assert noted.header("authorization") == "Bearer k"


def test_canned_answers_are_given_once_each_and_then_the_script_speaks(fake: FakeOpenAI) -> None:
    fake.answer_next(
        Canned(503, (("Retry-After", "2"), ("X-A", "1"), ("X-A", "2"))), Canned(chunks=(b"{}",), delay_s=0.05)
    )

    answers = [_ask(fake) for _ in range(3)]

    assert answers[:2] == [(503, ["1", "2"], b""), (200, [], b"{}")]
    assert answers[2][0] == 200
    assert b"get_weather" in answers[2][2]


def test_an_answer_that_breaks_off_never_ends_its_body(fake: FakeOpenAI) -> None:
    fake.answer_next(Canned(chunks=(b"data: 1\n\n",), pause_s=0.05, breaks_off=True))

    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        _ask(fake)


def test_a_client_that_leaves_a_hanging_answer_is_noted(fake: FakeOpenAI) -> None:
    fake.answer_next(Canned(hangs=True))
    with socket.create_connection(("127.0.0.1", fake.port)) as client:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        fake.wait_for_requests(1)

    deadline = time.monotonic() + 5
    while not fake.left_early and time.monotonic() < deadline:
        time.sleep(0.01)
    assert fake.left_early == 1


def test_it_stops_at_once_even_while_an_answer_hangs() -> None:
    fake = FakeOpenAI().start()
    fake.answer_next(Canned(hangs=True))
    with socket.create_connection(("127.0.0.1", fake.port)) as client:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        fake.wait_for_requests(1)
        began = time.monotonic()
        fake.stop()
    assert time.monotonic() - began < 30
