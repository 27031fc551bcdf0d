"""`runs`, `show`, `tail` against a small API server: what goes to which stream, and with which exit status."""

from __future__ import annotations

import itertools
import json

import pytest

from tests.unit.commands.conftest import Watchllm
from tests.unit.commands.fake_api import HANG_UP, FakeApi, call, debug, run_list, run_summary
from watchllm_proxy.commands import reading

NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens there on a developer's machine


# --- runs -------------------------------------------------------------------------------------------


def test_runs_in_a_pipe_are_aligned_columns_with_whole_ids_and_the_link_on_stderr(
    api: FakeApi, watchllm: Watchllm
) -> None:
    long_title = "x" * 300
    api.routes["/api/agent-runs"] = run_list(
        run_summary("7q2k9fh4-aaaa"),
        run_summary("f81c02aa-bbbb", title=long_title, status="failed", flags_count=2),
    )
    result = watchllm("runs", "--url", api.url)
    heading, first, second = result.stdout.splitlines()
    assert heading.split() == ["RUN", "AGENT", "STATUS", "STEPS", "TOOK", "COST", "WHEN", "FLAGS", "TITLE"]
    assert first.startswith("7q2k9fh4-aaaa  order-assistant  Done")
    assert "$0.000231" in first
    assert second.endswith(long_title)
    assert heading.index("AGENT") == first.index("order-assistant") == second.index("order-assistant")
    assert f"open {api.url}/runs" in result.stderr
    assert "\x1b" not in result.stdout
    assert result.exit_code == 0


def test_a_key_is_shown_where_one_is_set(
    api: FakeApi, watchllm: Watchllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.routes["/api/agent-runs"] = run_list()
    watchllm("runs", "--url", api.url)
    assert set(api.credentials) == {None}
    api.credentials.clear()
    monkeypatch.setenv("WATCHLLM_KEY", "lgw_proj_reader")
    result = watchllm("runs", "--url", api.url)
    assert set(api.credentials) == {"Bearer lgw_proj_reader"}
    assert "lgw_proj_reader" not in result.stdout + result.stderr


def test_runs_asks_the_server_for_what_was_asked(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/agent-runs"] = run_list(run_summary("a"))
    words = [
        "--since",
        "2026-01-15T10:00:00+00:00",
        "--agent",
        "a b",
        "--status",
        "failed",
        "--limit",
        "5",
        "--chats",
    ]
    assert watchllm("runs", "--url", api.url, *words).exit_code == 0
    assert api.requests == [
        (
            "/api/agent-runs",
            {"since": "2026-01-15T10:00:00.000Z", "agent": "a b", "status": "failed", "limit": "5", "kind": "all"},
        )
    ]


def test_where_there_are_only_lone_chats_it_is_said_how_to_see_them(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/agent-runs"] = lambda query: run_list(*[run_summary("a")] if "kind" in query else [])
    result = watchllm("runs", "--url", api.url)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "1 lone chat: --chats shows them" in result.stderr


def test_a_filter_that_finds_nothing_does_not_say_that_there_are_no_runs(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/agent-runs"] = run_list()
    filtered = watchllm("runs", "--url", api.url, "--status", "failed")
    assert "No run is like that." in filtered.stderr
    assert "Point an agent at the proxy" in watchllm("runs", "--url", api.url).stderr


def test_an_unpriced_run_is_unpriced_and_never_free(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/agent-runs"] = run_list(run_summary("a", total_cost_usd=None))
    out = watchllm("runs", "--url", api.url).stdout
    assert "unpriced" in out
    assert "$0" not in out


def test_json_is_the_document_of_the_server_byte_for_byte(api: FakeApi, watchllm: Watchllm) -> None:
    body = b'{"runs":[],"total":0,"money":0.00000000000000000012}'
    api.routes["/api/agent-runs"] = (200, body)
    assert watchllm("runs", "--url", api.url, "--json").stdout == body.decode() + "\n"


def test_ndjson_is_one_run_a_line_with_money_exact(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/agent-runs"] = (
        200,
        b'{"runs":[{"run_id":"a","total_cost_usd":0.123456789012},{"run_id":"b"}]}',
    )
    lines = watchllm("runs", "--url", api.url, "--ndjson").stdout.splitlines()
    assert lines == ['{"run_id":"a","total_cost_usd":0.123456789012}', '{"run_id":"b"}']


def test_no_runs_is_said_on_stderr_and_is_no_error(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/agent-runs"] = run_list()
    result = watchllm("runs", "--url", api.url)
    assert (result.stdout, result.exit_code) == ("", 0)
    assert "watchllm demo" in result.stderr


def test_captured_text_cannot_steer_the_terminal(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/agent-runs"] = run_list(run_summary("a\x1b]0;x\x07", title="\x1b[31mred\r\nfake line\u202e"))
    out = watchllm("runs", "--url", api.url).stdout
    assert len(out.splitlines()) == 2
    assert not set(out) & set("\x1b\x07\r\u202e")


# --- what goes wrong --------------------------------------------------------------------------------


def test_without_a_server_it_says_how_to_start_one(watchllm: Watchllm) -> None:
    result = watchllm("runs", "--url", NOBODY)
    assert (result.exit_code, result.stdout) == (1, "")
    assert NOBODY in result.stderr
    assert "watchllm up" in result.stderr


def test_the_servers_own_words_are_passed_on(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/agent-runs"] = (
        503,
        {"error": {"message": "The store cannot be read now. Try again in 5 s."}},
    )
    result = watchllm("runs", "--url", api.url)
    assert result.exit_code == 1
    assert "Try again in 5 s." in result.stderr


def test_something_else_on_the_port_is_told_apart(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/agent-runs"] = (200, b"<html>hello</html>")
    result = watchllm("runs", "--url", api.url)
    assert result.exit_code == 1
    assert "no WatchLLM server" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["runs", "--since", "yesterday-ish"],
        ["runs", "--url", "127.0.0.1:8787"],
        ["runs", "--limit", "0"],
        ["show"],
    ],
)
def test_wrong_usage_is_exit_status_2(words: list[str], watchllm: Watchllm) -> None:
    assert watchllm(*words).exit_code == 2


def test_wrong_settings_are_told_before_anything_is_asked(
    watchllm: Watchllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHLLM_PORT", "many")
    result = watchllm("runs")
    assert result.exit_code == 2
    assert "WATCHLLM_PORT" in result.stderr


def test_the_address_may_be_the_one_that_agents_use(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/agent-runs"] = run_list(run_summary("a"))
    assert watchllm("runs", "--url", f"{api.url}/v1").exit_code == 0


# --- show -------------------------------------------------------------------------------------------


def test_show_draws_the_run_with_the_runs_of_its_sub_agents(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/agent-runs/root/debug"] = debug("root", "child")
    api.routes["/api/agent-runs/child/debug"] = debug("child", "grandchild")
    api.routes["/api/agent-runs/grandchild/debug"] = debug("grandchild", "root")  # a loop ends
    result = watchllm("show", "root", "--url", api.url)
    for run_id in ("root", "child", "grandchild"):
        assert f"question of {run_id}" in result.stdout
    assert f"open {api.url}/runs/root" in result.stderr
    assert result.exit_code == 0


def test_show_takes_the_unique_beginning_of_an_id(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/agent-runs"] = run_list(run_summary("7q2k9fh4"), run_summary("x-7q2k"))
    api.routes["/api/agent-runs/7q2k9fh4/debug"] = debug("7q2k9fh4")
    result = watchllm("show", "7q2k", "--url", api.url)
    assert "question of 7q2k9fh4" in result.stdout
    assert result.exit_code == 0


def test_a_beginning_of_several_ids_is_wrong_usage_and_names_them(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/agent-runs"] = run_list(run_summary("7q2k-1"), run_summary("7q2k-2"))
    result = watchllm("show", "7q2k", "--url", api.url)
    assert result.exit_code == 2
    assert "7q2k-1, 7q2k-2" in result.stderr


def test_an_unknown_run_is_exit_status_3(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/agent-runs"] = run_list()
    result = watchllm("show", "nope", "--url", api.url)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "'nope'" in result.stderr


def test_an_id_that_looks_like_a_path_stays_one_segment(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/agent-runs/a%2Fb%3Fc/debug"] = debug("a/b?c")
    assert watchllm("show", "a/b?c", "--url", api.url).exit_code == 0


def test_show_as_json_and_as_one_step_a_line(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/agent-runs/root/debug"] = debug("root")
    assert json.loads(watchllm("show", "root", "--url", api.url, "--json").stdout) == debug("root")
    (line,) = watchllm("show", "root", "--url", api.url, "--ndjson").stdout.splitlines()
    assert json.loads(line)["summary"] == "question of root"


# --- tail -------------------------------------------------------------------------------------------


def test_tail_prints_a_line_for_each_call_oldest_first(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/calls"] = {"calls": [call("1"), call("2", duration_ms=862)], "next_after": "2"}
    lines = watchllm("tail", "--url", api.url, "--no-follow").stdout.splitlines()
    assert len(lines) == 2
    for words in ("order-assistant", "gpt-4.1-mini", "200", "684 ms", "1,804→30", "$0.0008"):
        assert words in lines[0]
    assert "862 ms" in lines[1]


def test_tail_can_show_only_what_failed_and_why(api: FakeApi, watchllm: Watchllm) -> None:
    error = {"type": "rate_limit_exceeded", "message": "retry after 2.1 s", "code": None}
    failed = call("2", http_status=429, error=error, cost_usd=None)
    lost = call("3", http_status=None, end="upstream_unreachable", error=None)
    api.routes["/api/calls"] = {"calls": [call("1"), failed, lost], "next_after": "3"}
    first, second = watchllm("tail", "--url", api.url, "--no-follow", "--errors").stdout.splitlines()
    assert "429" in first
    assert first.endswith("rate_limit_exceeded: retry after 2.1 s")
    assert "upstream_unreachable" in second


def test_tail_of_one_agent_leaves_out_the_others(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/calls"] = {"calls": [call("1"), call("2", agent_name="other")], "next_after": "2"}
    out = watchllm("tail", "--url", api.url, "--no-follow", "--agent", "other", "--ndjson").stdout
    assert [json.loads(line)["call_id"] for line in out.splitlines()] == ["2"]


def test_tail_follows_through_a_restart_and_shows_each_call_once(
    api: FakeApi, watchllm: Watchllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server breaks two answers; then it has more; then the person has seen enough."""
    polls = itertools.count()

    def calls(query: dict[str, str]) -> object:
        poll = next(polls)
        if poll == 0:
            return {"calls": [call("1")], "next_after": "1"}
        assert query["after"] == ("1" if poll < 4 else "2")
        if poll in {1, 2}:
            return HANG_UP
        if poll == 3:
            return {"calls": [call("2")], "next_after": "2"}
        return {"calls": [], "next_after": "2"}

    rests = itertools.count()

    def rest(seconds: float) -> None:
        if next(rests) == 4:
            raise KeyboardInterrupt

    api.routes["/api/calls"] = calls
    monkeypatch.setattr(reading.time, "sleep", rest)
    result = watchllm("tail", "--url", api.url, "--ndjson")
    assert [json.loads(line)["call_id"] for line in result.stdout.splitlines()] == ["1", "2"]
    assert result.stderr.count("went away") == 1
    assert result.stderr.count("is back") == 1
    assert result.exit_code == 0
