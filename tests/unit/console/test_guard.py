from __future__ import annotations

import pytest

from watchllm_proxy.console.guard import is_host_allowed
from watchllm_proxy.settings import Settings

LOOPBACK = Settings()
OPEN = Settings(host="0.0.0.0")

OWN = ["127.0.0.1:8787", "127.0.0.1", "localhost:8787", "LOCALHOST", "[::1]:8787", "127.5.5.5:80"]
FOREIGN = [
    "evil.example",
    "evil.example:8787",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "10.0.0.1",
    "2130706433",
    "[fe80::1]",
]
MALFORMED = [
    "",
    "a b",
    'x"y',
    "a;rm -rf",
    "127.0.0.1:8787/x",
    "$(id)",
    "a'b",
    "[::1",
    "host:port",
    "user@localhost",
]


@pytest.mark.parametrize("host", OWN)
def test_loopback_names_are_ours(host: str) -> None:
    assert is_host_allowed(host, LOOPBACK)


@pytest.mark.parametrize("host", FOREIGN)
def test_a_name_rebound_to_loopback_is_not_ours(host: str) -> None:
    assert not is_host_allowed(host, LOOPBACK)


@pytest.mark.parametrize("host", ["watch.example:8787", "10.0.0.7"])
def test_listening_to_the_world_any_name_is_ours(host: str) -> None:
    assert is_host_allowed(host, OPEN)


@pytest.mark.parametrize("host", MALFORMED)
@pytest.mark.parametrize("settings", [LOOPBACK, OPEN], ids=["loopback", "open"])
def test_a_host_that_could_break_out_of_a_shell_line_is_refused(host: str, settings: Settings) -> None:
    assert not is_host_allowed(host, settings)
