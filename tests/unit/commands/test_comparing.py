"""`diff` and `open` against a small API server."""

from __future__ import annotations

import json
import webbrowser

import pytest

from tests.unit.commands.conftest import Watchllm
from tests.unit.commands.fake_api import FakeApi, call, debug, run_list, run_summary

FIRST = {
    "model": "m",
    "temperature": 0,
    "messages": [
        {"role": "system", "content": "It is 10:00:13Z.\nBe kind."},
        {"role": "user", "content": "Where is my order?"},
    ],
}
SECOND = {
    "model": "m",
    "temperature": 0.5,
    "tools": [{"type": "function", "function": {"name": "look"}}],
    "messages": [
        {"role": "system", "content": "It is 10:00:27Z.\nBe kind."},
        {"role": "user", "content": "Where is my order?"},
        {"role": "tool", "content": "shipped\x1b[31m"},
    ],
}


@pytest.fixture
def two_calls(api: FakeApi) -> FakeApi:
    document = debug("7q2k9fh4")
    steps = [{"step_index": n, "call_id": of} for n, of in enumerate(["a", "a", "b", "b", None, "gone"])]
    document["debug"]["steps"] = steps  # type: ignore[index]
    api.routes["/api/agent-runs/7q2k9fh4/debug"] = document
    api.routes["/api/calls/a"] = {"call": {**call("a"), "request": FIRST}}
    api.routes["/api/calls/b"] = {"call": {**call("b"), "request": SECOND}}
    api.routes["/api/calls/gone"] = {"call": {**call("gone"), "request": None}}
    return api


def test_diff_marks_what_changed_word_by_word(two_calls: FakeApi, watchllm: Watchllm) -> None:
    result = watchllm("diff", "7q2k9fh4", "1", "3", "--url", two_calls.url)
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [
            "the common prefix ends in the tools, which stand before every message",
            "~ parameter temperature",
            "    [-0-]{+0.5+}",
            "+ tool look",
            "    {",
            '      "function": {',
            '        "name": "look"',
            "      },",
            '      "type": "function"',
            "    }",
            "~ message 1 system",
            "    It is 10:00:[-13Z-]{+27Z+}.",
            "    Be kind.",
            "= 1 message as before",
            "+ message 3 tool",
            "    shipped [31m",
        ],
    )
    assert "step 1 → step 3: messages: 1 same, 1 changed, 1 added" in result.stderr
    assert f"open {two_calls.url}/runs/7q2k9fh4#step-3/diff" in result.stderr


def test_one_step_is_compared_with_the_call_before_it(two_calls: FakeApi, watchllm: Watchllm) -> None:
    words = ["--url", two_calls.url, "--json"]
    assert json.loads(watchllm("diff", "7q2k9fh4", "3", *words).stdout)["before"] == 1
    refused = watchllm("diff", "7q2k9fh4", "1", *words)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "name another" in refused.stderr


def test_equal_requests_differ_in_nothing_and_that_is_no_error(two_calls: FakeApi, watchllm: Watchllm) -> None:
    result = watchllm("diff", "7q2k9fh4", "0", "1", "--url", two_calls.url)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing changed" in result.stderr


def test_json_has_every_message_whole_and_ndjson_a_change_a_line(two_calls: FakeApi, watchllm: Watchllm) -> None:
    found = json.loads(watchllm("diff", "7q2k9fh4", "1", "3", "--url", two_calls.url, "--json").stdout)
    assert [each["change"] for each in found["messages"]] == ["changed", "same", "added"]
    assert found["prefix_break"]["message_index"] is None
    assert found["messages"][2]["pieces"] == [{"change": "added", "text": "shipped\x1b[31m"}]
    lines = watchllm("diff", "7q2k9fh4", "1", "3", "--url", two_calls.url, "--ndjson").stdout.splitlines()
    kinds = [json.loads(line)["what"] for line in lines]
    assert kinds == ["prefix_break", "parameter", "tool", "message", "message", "message"]


@pytest.mark.parametrize(("step", "words"), [("9", "no step 9"), ("4", "was reported"), ("5", "is not stored")])
def test_what_cannot_be_compared_is_not_found(
    two_calls: FakeApi, watchllm: Watchllm, step: str, words: str
) -> None:
    result = watchllm("diff", "7q2k9fh4", "1", step, "--url", two_calls.url)
    assert (result.exit_code, result.stdout) == (3, "")
    assert words in result.stderr


def test_a_long_text_is_cut_for_people_and_never_in_json(two_calls: FakeApi, watchllm: Watchllm) -> None:
    long = {**SECOND, "messages": [*SECOND["messages"], {"role": "tool", "content": "x" * 50_000}]}  # type: ignore[misc]
    two_calls.routes["/api/calls/b"] = {"call": {**call("b"), "request": long}}
    out = watchllm("diff", "7q2k9fh4", "1", "3", "--url", two_calls.url).stdout
    assert "… (48,000 characters more: --json has all)" in out
    found = watchllm("diff", "7q2k9fh4", "1", "3", "--url", two_calls.url, "--json").stdout
    assert "x" * 50_000 in found


def test_open_in_a_pipe_prints_the_address_and_starts_nothing(
    two_calls: FakeApi, watchllm: Watchllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda url: pytest.fail("a browser was started"))
    two_calls.routes["/api/agent-runs"] = run_list(run_summary("7q2k9fh4"), run_summary("other"))
    result = watchllm("open", "7q2k", "--step", "3", "--url", two_calls.url)
    assert (result.exit_code, result.stdout) == (0, f"{two_calls.url}/runs/7q2k9fh4#step-3\n")
    assert json.loads(watchllm("open", "7q2k", "--json", "--url", two_calls.url).stdout) == {
        "run_id": "7q2k9fh4",
        "url": f"{two_calls.url}/runs/7q2k9fh4",
    }


def test_open_does_not_know_an_unknown_run(api: FakeApi, watchllm: Watchllm) -> None:
    api.routes["/api/agent-runs"] = run_list()
    assert watchllm("open", "nobody", "--url", api.url).exit_code == 3
