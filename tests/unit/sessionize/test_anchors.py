"""The bounded index that later calls look into."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from watchllm_proxy.records import Anchor
from watchllm_proxy.sessionize.anchors import AnchorIndex, AnchorKind


def anchor(value: str, *, call: int = 1, at_us: int = 0, run: str = "r", project: str = "p") -> Anchor:
    return Anchor(project, AnchorKind.ISSUED_ID, value, run, UUID(int=call), 0, at_us, run, seq=call)


def index(window: int = 100, horizon_us: int = 1000) -> AnchorIndex:
    return AnchorIndex(horizon_us=horizon_us, window=window)


def test_the_last_one_put_wins() -> None:
    anchors = index()
    anchors.put(anchor("a", run="one"))
    anchors.put(anchor("a", run="two", call=2))
    found = anchors.find("p", AnchorKind.ISSUED_ID, "a", 0)
    assert found is not None
    assert found.run_id == "two"
    assert len(anchors) == 1


def test_projects_and_kinds_do_not_meet() -> None:
    anchors = index()
    anchors.put(anchor("a"))
    assert anchors.find("q", AnchorKind.ISSUED_ID, "a", 0) is None
    assert anchors.find("p", AnchorKind.TRACE, "a", 0) is None


def test_an_anchor_is_found_up_to_the_horizon_and_not_after() -> None:
    anchors = index(horizon_us=10)
    anchors.put(anchor("a", at_us=100))
    assert anchors.find("p", AnchorKind.ISSUED_ID, "a", 110) is not None
    assert anchors.find("p", AnchorKind.ISSUED_ID, "a", 111) is None


def test_what_is_not_among_the_last_ones_put_is_removed() -> None:
    """Not among the last put anywhere: another index may have taken the numbers in between."""
    anchors = index(window=3)
    for value, seq in (("a", 1), ("b", 2), ("a", 3), ("c", 5)):
        anchors.put(replace(anchor(value), seq=seq))
    found = [anchors.find("p", AnchorKind.ISSUED_ID, value, 0) is not None for value in "abc"]
    assert found == [True, False, True]
    anchors.put(replace(anchor("d"), seq=8))
    assert len(anchors) == 1


def test_what_is_past_its_time_is_removed() -> None:
    anchors = index()
    for at_us in range(5):
        anchors.put(anchor(str(at_us), at_us=at_us, call=at_us))
    anchors.forget_before(3)
    assert len(anchors) == 2
