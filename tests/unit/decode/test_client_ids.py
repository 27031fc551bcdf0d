from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.decode.exchanges import decoded
from watchllm_proxy.records import ClientId, ClientIdKind

K = ClientIdKind
_UUID = "0199a213-81c0-7800-8aa1-bbab2a035a53"


@pytest.mark.parametrize(
    ("name", "kind", "strength"),
    [
        ("X-Run-Id", K.RUN, 1),
        ("X-Session-Id", K.SESSION, 1),
        ("X-Parent-Run-Id", K.PARENT_RUN, 1),
        ("X-Claude-Code-Session-Id", K.SESSION, 2),
        ("X-Claude-Code-Agent-Id", K.AGENT, 2),
        ("X-Claude-Code-Parent-Agent-Id", K.PARENT_AGENT, 2),
        ("session-id", K.SESSION, 2),
        ("thread-id", K.AGENT, 2),
        ("X-KILOCODE-TASKID", K.SESSION, 2),
        ("goose-session-id", K.SESSION, 2),
        ("Helicone-Session-Id", K.SESSION, 3),
        ("x-portkey-trace-id", K.TRACE, 3),
        ("x-acme-session-id", K.SESSION, 3),
    ],
)
def test_a_header_tells_an_id(name: str, kind: ClientIdKind, strength: int) -> None:
    call = decoded(headers=((name, " abc-1 "),))
    assert call.client_ids == (ClientId(kind, "abc-1", name.lower(), strength),)


def _ids_in(body: dict[str, Any]) -> tuple[ClientId, ...]:
    return decoded(request={"messages": [], **body}).client_ids


@pytest.mark.parametrize(
    ("body", "kind", "source", "strength"),
    [
        ({"session_id": "abc-1"}, K.SESSION, "session_id", 4),
        ({"metadata": {"session_id": "abc-1"}}, K.SESSION, "metadata.session_id", 4),
        ({"tensorzero::episode_id": "abc-1"}, K.SESSION, "tensorzero::episode_id", 4),
        ({"trace": {"trace_id": "abc-1"}}, K.TRACE, "trace.trace_id", 4),
        ({"previous_response_id": "abc-1"}, K.PREVIOUS_RESPONSE, "previous_response_id", 4),
        ({"conversation": "abc-1"}, K.CONVERSATION, "conversation", 4),
        ({"conversation": {"id": "abc-1"}}, K.CONVERSATION, "conversation.id", 4),
        ({"metadata": {"user_id": json.dumps({"session_id": "abc-1"})}}, K.SESSION, "metadata.user_id", 2),
    ],
)
def test_a_body_field_tells_an_id(body: dict[str, Any], kind: ClientIdKind, source: str, strength: int) -> None:
    assert _ids_in(body) == (ClientId(kind, "abc-1", source, strength),)


def test_claude_codes_user_id_holds_its_session() -> None:
    user_id = f"user_{'a1' * 32}_account__session_{_UUID}"
    assert _ids_in({"metadata": {"user_id": user_id}}) == (ClientId(K.SESSION, _UUID, "metadata.user_id", 2),)


def test_codex_tells_its_thread_in_a_json_header() -> None:
    turn = json.dumps({"session_id": "s1", "thread_id": "t1", "turn_id": "x"})
    call = decoded(headers=(("x-codex-turn-metadata", turn),))
    assert [(one.kind, one.value) for one in call.client_ids] == [(K.SESSION, "s1"), (K.AGENT, "t1")]


def test_a_traceparent_tells_its_trace_only() -> None:
    value = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    found = decoded(headers=(("traceparent", value),)).client_ids
    assert found == (ClientId(K.TRACE, "4bf92f3577b34da6a3ce929d0e0e4736", "traceparent", 5),)
    assert decoded(headers=(("traceparent", "00-xyz"),)).client_ids == ()


def test_a_cache_key_is_a_session_only_where_it_is_unique() -> None:
    assert [one.source for one in _ids_in({"prompt_cache_key": _UUID})] == ["prompt_cache_key"]
    assert _ids_in({"prompt_cache_key": "my-app-v2"}) == ()


def test_the_strongest_id_comes_first_and_a_repeat_counts_once() -> None:
    headers = (
        ("traceparent", f"00-{'ab' * 16}-{'cd' * 8}-01"),
        ("helicone-session-id", "s"),
        ("X-Session-Id", "s"),
    )
    found = decoded(headers=(*headers, ("x-run-id", "r"))).client_ids
    assert [(one.kind, one.value, one.strength) for one in found] == [
        (K.SESSION, "s", 1),
        (K.RUN, "r", 1),
        (K.TRACE, "ab" * 16, 5),
    ]


@pytest.mark.parametrize("value", ["", "   ", "x" * 257, "a\tb", "a\x00b", "[stripped]"])
def test_what_cannot_be_an_id_is_passed_over(value: str) -> None:
    assert decoded(headers=(("x-run-id", value),)).client_ids == ()


@pytest.mark.parametrize("value", [None, 7, [], {}, {"id": 7}, "x" * 300])
def test_body_fields_of_other_types_are_passed_over(value: Any) -> None:
    assert _ids_in({"session_id": value, "conversation": value, "metadata": value, "trace": value}) == ()


def test_headers_count_where_the_body_is_no_json() -> None:
    call = decoded(
        request=b"\xff\xfe", headers=(("x-run-id", "r1"), ("X-Agent-Name", "planner"), ("user-agent", "u/1"))
    )
    assert [one.value for one in call.client_ids] == ["r1"]
    assert (call.agent_name, call.user_agent) == ("planner", "u/1")


def test_users_agents_and_retries_are_told() -> None:
    headers = (
        ("X-Agent-Name", "n"),
        ("X-Agent-Version", "v"),
        ("X-User-Id", "u"),
        ("x-stainless-retry-count", "2"),
    )
    call = decoded(headers=headers)
    assert (call.agent_name, call.agent_version, call.user_id, call.retry_count_hint) == ("n", "v", "u", 2)
    assert decoded(request={"messages": [], "user": "bob"}).user_id == "bob"
    assert decoded(headers=(("x-stainless-retry-count", "many"),)).retry_count_hint is None


def test_tags_are_gathered_from_everywhere() -> None:
    call = decoded(
        request={"messages": [], "metadata": {"team": "search", "n": 3, "user_id": "u", "tags": ["nightly"]}},
        headers=(
            ("Helicone-Property-App", "shop"),
            ("X-WatchLLM-Tags", "env=prod, beta"),
            ("cf-aig-metadata", '{"tier": "gold", "deep": {}}'),
            ("baggage", "k=v%20w;prop=1"),
        ),
    )
    assert dict(call.tags) == {
        "App": "shop",
        "env": "prod",
        "beta": "",
        "tier": "gold",
        "k": "v w",
        "team": "search",
        "n": "3",
        "nightly": "",
    }


def test_tags_are_bounded() -> None:
    call = decoded(request={"messages": [], "metadata": {f"k{i}": "x" * 10_000 for i in range(500)}})
    assert len(call.tags) == 64
    assert max(len(value) for _, value in call.tags) == 512


@pytest.mark.parametrize(
    "header",
    [
        ("X-WatchLLM-No-Content", "true"),
        ("cf-aig-collect-log-payload", "false"),
        ("x-litellm-enable-message-redaction", "True"),
    ],
)
def test_a_client_may_refuse_that_content_is_kept(header: tuple[str, str]) -> None:
    assert decoded(headers=(header,)).is_content_refused
    assert not decoded(headers=((header[0], "x"),)).is_content_refused
