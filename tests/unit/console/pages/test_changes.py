from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.console_runs import call_id, make_call, refund_run
from watchllm_proxy.console.answers import dumps
from watchllm_proxy.console.pages.changes import _document, previous_step
from watchllm_proxy.decode import rebuild
from watchllm_proxy.decode.rebuild import split
from watchllm_proxy.records import Confidence, Link, LinkKind
from watchllm_proxy.store.grown_calls import STUB, shared_places, stub
from watchllm_proxy.store.shapes import StoredMessage


def test_a_request_goes_on_from_the_one_that_the_evidence_names_else_from_the_one_before() -> None:
    loaded = refund_run()
    seventh = loaded.steps[7]
    assert previous_step(replace(loaded, links={}), seventh) is loaded.steps[5]
    links = {call_id(4): (Link(LinkKind.HISTORY, "", Confidence.CERTAIN, call_id(2), 3),)}
    assert previous_step(replace(loaded, links=links), seventh) is loaded.steps[3]


def test_the_first_request_goes_on_from_none() -> None:
    loaded = refund_run()
    assert previous_step(loaded, loaded.steps[1]) is None


SAID = [{"role": role, "content": text} for role in ("user", "assistant") for text in ("go on", "done")]
BODIES = st.fixed_dictionaries(
    {"model": st.just("m")},
    optional={
        "system": st.one_of(
            st.sampled_from(["Be brief.", "Be long."]), st.lists(st.sampled_from(SAID), max_size=2)
        ),
        "messages": st.lists(st.sampled_from(SAID), max_size=6),
        "input": st.one_of(st.just("go on"), st.lists(st.sampled_from(SAID), max_size=4)),
        "tools": st.lists(st.sampled_from([{"name": "look"}, {"name": "ask"}]), max_size=2),
    },
)
SLOTS = ("messages", "system", "input", "tools")


@given(BODIES, BODIES, st.integers(0, 6))
@settings(max_examples=200, deadline=None)
def test_what_differs_is_the_same_where_common_messages_are_stubs(
    before: dict[str, Any], more: dict[str, Any], kept: int
) -> None:
    now = {**more, "messages": before.get("messages", [])[:kept] + more.get("messages", [])}
    rows, parts = [], []
    for body in (now, before):
        taken = split(body, SLOTS)
        parts.append(
            (taken.skeleton, [StoredMessage(slot, orjson.dumps(value)) for slot, value in taken.messages])
        )
        rows.append(
            {
                "message_slots": [slot for slot, _ in taken.messages],
                "message_hashes": [each.content.hex() for each in parts[-1][1]],
            }
        )
    stubbed = []
    for (skeleton, messages), row, places in zip(parts, rows, shared_places(*rows), strict=True):
        told = [
            StoredMessage(each.slot, stub(row["message_hashes"][place])) if place in places else each
            for place, each in enumerate(messages)
        ]
        stubbed.append(make_call(2, request=rebuild(skeleton, told)))
    whole = [make_call(2, request=rebuild(*each)) for each in parts]
    told_so = dumps(_document(*stubbed))
    assert told_so == dumps(_document(*whole)) or STUB in told_so, "else whole calls are read"
