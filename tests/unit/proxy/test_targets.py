"""Whatever a client asks for, the host is the configured one, and the path stays below the prefix."""

from __future__ import annotations

import posixpath
import urllib.parse

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from watchllm_proxy.proxy.answers import Refusal
from watchllm_proxy.proxy.pool import Origin
from watchllm_proxy.proxy.targets import Route, route, upstream_target

TRICKY = [
    "/",
    "//",
    "\\",
    "@",
    ".",
    "..",
    "%2e",
    "%2E",
    "%2f",
    "%5c",
    "%40",
    "evil.test",
    ":80",
    "?",
    "#",
    "v1",
    "/v1/",
    "é",
]
TARGETS = st.lists(st.sampled_from(TRICKY) | st.text(max_size=6), max_size=8).map("".join)


@given(TARGETS | TARGETS.map(lambda rest: "/v1/" + rest))
@example("//evil.test/x")
@example("@evil.test/x")
@example("http://evil.test/v1/x")
@example("/v1/%2e%2e/%2e%2e/x")
@example("/v1/..%2f..%5cx")
def test_the_host_is_the_configured_one_for_any_target(target: str) -> None:
    if not is_forwarded(target):
        return
    built = upstream_target("/api/v1", target).decode()
    # Read by two parsers that were fooled before, behind the configured origin.
    for host in (urllib.parse.urlsplit("https://up.test" + built).hostname, URL("https://up.test" + built).host):
        assert host == "up.test"
    path = urllib.parse.unquote(built.partition("?")[0]).replace("\\", "/")
    assert (posixpath.normpath(path) + "/").startswith("/api/v1/")


def is_forwarded(target: str) -> bool:
    try:
        return route(target) is Route.FORWARD
    except Refusal:
        return False


@pytest.mark.parametrize(
    ("target", "where"),
    [
        ("/v1/chat/completions", Route.FORWARD),
        ("/v1/models/openai%2Fgpt-4o:free?x=//@..", Route.FORWARD),
        ("/v1/generation?id=gen-1", Route.FORWARD),
        ("/v1/files/file.with.dots/content", Route.FORWARD),
        ("/v1/eventsource", Route.FORWARD),
        ("/v1/fine_tuning/jobs/1/events", Route.FORWARD),
        ("/v1/agent-runs", Route.INGESTION),
        ("/v1/agent-runs/7/steps", Route.INGESTION),
        ("/v1/events/batch?x=1", Route.INGESTION),
        ("/v1/events/query", Route.CONSOLE),
        ("/v1/traces", Route.LATER),
        ("/v1/projects/p/events", Route.INGESTION),
        ("/healthz", Route.HEALTH),
        ("/readyz?verbose", Route.READY),
        ("/metrics", Route.METRICS),
        ("/", Route.CONSOLE),
        ("/v1", Route.CONSOLE),
        ("/v1x/chat", Route.CONSOLE),
        ("/dashboard/runs/..%20?a=b", Route.CONSOLE),
        ("/static/a..b.css", Route.CONSOLE),
        ("/runs/a%2F..%2Fb", Route.CONSOLE),
        ("/runs/C:%5Cagents%5Cx", Route.CONSOLE),
        ("/v1/agent-runs/C:%5Cagents%5Cx", Route.INGESTION),
    ],
)
def test_each_path_goes_where_it_belongs(target: str, where: Route) -> None:
    assert route(target) is where


def test_a_target_is_the_prefix_and_the_raw_rest() -> None:
    assert upstream_target("/api/v1", "/v1/a%2Fb?q=%20&&") == b"/api/v1/a%2Fb?q=%20&&"
    assert upstream_target("", "/v1/models") == b"/models"


@pytest.mark.parametrize(
    ("url", "port", "header"),
    [
        ("https://openrouter.ai/api/v1", 443, b"openrouter.ai"),
        ("http://localhost:1234/v1", 1234, b"localhost:1234"),
        ("http://[::1]:80/v1", 80, b"[::1]"),
        ("https://bücher.test/v1", 443, "bücher.test".encode("idna")),
    ],
)
def test_an_origin_is_read_from_the_settings_url(url: str, port: int, header: bytes) -> None:
    origin = Origin.from_url(url)
    assert (origin.port, origin.host_header) == (port, header)


@pytest.mark.parametrize("target", ["/v1/a%5Cb", "/v1/%2e%2e/x", "/v1/a%252f..%255cb", "/v1/models/..;/x"])
def test_what_a_server_behind_us_may_read_as_a_step_upwards_is_refused(target: str) -> None:
    with pytest.raises(Refusal):
        route(target)
