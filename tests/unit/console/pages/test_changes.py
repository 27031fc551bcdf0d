from __future__ import annotations

from dataclasses import replace

from tests.console_runs import call_id, refund_run
from watchllm_proxy.console.pages.changes import previous_step
from watchllm_proxy.records import Confidence, Link, LinkKind


def test_a_request_goes_on_from_the_one_that_the_evidence_names_else_from_the_one_before() -> None:
    loaded = refund_run()
    seventh = loaded.steps[7]
    assert previous_step(replace(loaded, links={}), seventh) is loaded.steps[5]
    links = {call_id(4): (Link(LinkKind.HISTORY, "", Confidence.CERTAIN, call_id(2), 3),)}
    assert previous_step(replace(loaded, links=links), seventh) is loaded.steps[3]


def test_the_first_request_goes_on_from_none() -> None:
    loaded = refund_run()
    assert previous_step(loaded, loaded.steps[1]) is None
