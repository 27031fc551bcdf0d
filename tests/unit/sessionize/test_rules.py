"""Each rule alone, and the order they stand in."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.unit.builders import SILENCE_US, CallBuilder, ids
from watchllm_proxy.records import Anchor, ClientId, ClientIdKind, Confidence, LinkKind
from watchllm_proxy.sessionize import rules
from watchllm_proxy.sessionize.anchors import AnchorIndex, AnchorKind
from watchllm_proxy.sessionize.children import Children
from watchllm_proxy.sessionize.connections import Connections
from watchllm_proxy.sessionize.recognition import Evidence
from watchllm_proxy.sessionize.text_index import TextIndex


def evidence(*anchors: tuple[AnchorKind, str]) -> Evidence:
    index = AnchorIndex(horizon_us=10**18, window=100)
    for number, (kind, value) in enumerate(anchors):
        index.put(Anchor("default", kind, value, f"run-{number}", UUID(int=number), number, 0, "s"))
    return Evidence(
        anchors=index,
        texts=TextIndex(horizon_us=10**18, window=100),
        children=Children(window=100),
        connections=Connections(window=100),
        silence_us=SILENCE_US,
        find_run=lambda key: None,
        runs_of=lambda project_id, session_id: [],
    )


def test_a_person_stands_above_explicit_ids_these_above_issued_ones_and_guesses_come_last() -> None:
    order = [rule.__name__ for rule in (*rules.RULES, *rules.INFERENCE, *rules.LAST_RESORTS)]
    assert order == [
        "person",
        "explicit_run",
        "explicit_session",
        "agent_context",
        "explicit_parent",
        "parent_agent",
        "previous_response",
        "issued_id",
        "conversation",
        "late_answer",
        "retry",
        "history",
        "tool_argument",
        "returned_text",
        "awaited",
        "reissued_id",
        "retry_elsewhere",
        "trace",
    ]


def test_no_ids_no_anchors_no_clues() -> None:
    assert rules.collect(CallBuilder()(user="Hi"), evidence()) == []


def test_the_last_mentioned_id_that_was_issued_is_the_clue() -> None:
    call = CallBuilder()(results={"call_old": "1", "call_new": "2", "never_issued": "3"})
    known = evidence((AnchorKind.ISSUED_ID, "call_new"), (AnchorKind.ISSUED_ID, "call_old"))
    (clue,) = rules.issued_id(call, known)
    assert clue.link.value == "call_new"
    assert clue.leads_to is not None
    assert clue.leads_to.run_id == "run-0"


@pytest.mark.parametrize(
    ("strength", "confidence"), [(2, "certain"), (3, "certain"), (4, "probable"), (5, "probable")]
)
def test_a_tools_own_trace_id_proves_more_than_a_traceparent(strength: int, confidence: str) -> None:
    call = CallBuilder()(user="Hi", client_ids=[ClientId(ClientIdKind.TRACE, "t", "x", strength)])
    (clue,) = rules.trace(call, evidence((AnchorKind.TRACE, "t")))
    assert clue.link.confidence == confidence


def test_a_trace_that_nobody_saw_leads_nowhere() -> None:
    assert list(rules.trace(CallBuilder()(user="Hi", client_ids=ids(trace="t")), evidence())) == []


def test_an_explicit_id_is_a_clue_without_any_anchor() -> None:
    (clue,) = rules.explicit_run(CallBuilder()(user="Hi", client_ids=ids(run="r")), evidence())
    assert (clue.names_run, clue.link.kind, clue.link.confidence) == (
        "r",
        LinkKind.EXPLICIT_RUN,
        Confidence.CERTAIN,
    )
