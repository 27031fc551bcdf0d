"""What the proxy lets pass in a request head, the console behind it takes too."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import pytest

from tests.e2e.stack import Stack


def ask(stack: Stack, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(stack.base_url).netloc, timeout=20)
    try:
        connection.request("GET", path, headers={"Accept": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_cookies_of_all_that_ran_on_localhost_keep_nobody_out(stack: Stack) -> None:
    cookies = "; ".join(f"app-{number}={'x' * 100}" for number in range(200))
    assert ask(stack, "/runs.json", {"Cookie": cookies})[0] == 200
    assert ask(stack, "/runs.json", {f"X-{number}": "x" for number in range(240)})[0] == 200


@pytest.mark.parametrize(
    "path", ["/runs.json?search=" + "a" * 20_000, "/api/agent-runs/" + "a" * 20_000 + "/debug"]
)
def test_an_address_longer_than_any_of_ours_gets_an_answer_in_our_words(stack: Stack, path: str) -> None:
    status, body = ask(stack, path, {})
    assert 400 <= status < 500
    message = json.loads(body)["error"]["message"]
    assert "aaaa" not in message
