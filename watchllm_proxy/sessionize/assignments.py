"""Placements as the lines that the accuracy of grouping is measured by (docs/accuracy.md)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from watchllm_proxy.records import Placement


class LinkLine(TypedDict):
    kind: str
    value: str
    confidence: str


class Assignment(TypedDict):
    """Which run one recorded exchange was put into."""

    session_id: str
    run_id: str
    parent_run_id: str | None
    certain: bool
    links: list[LinkLine]


def certain_sessions(placements: Iterable[Placement]) -> frozenset[str]:
    """Sessions that nothing but certain evidence holds together. In another one, nobody can say which of its
    calls are the ones that do not belong there."""
    all_of_them, doubtful = set(), set()
    for placement in placements:
        if placement.session_id is None:
            continue
        all_of_them.add(placement.session_id)
        if not placement.is_certain:
            doubtful.add(placement.session_id)
    return frozenset(all_of_them - doubtful)


def assignment(placement: Placement, certain: frozenset[str]) -> Assignment:
    """A call that belongs to no run (a list of models, an image) stands alone, under its own id."""
    alone = str(placement.call_id)
    return Assignment(
        session_id=placement.session_id or alone,
        run_id=placement.run_id or alone,
        parent_run_id=placement.parent_run_id,
        certain=placement.is_certain and (placement.session_id is None or placement.session_id in certain),
        links=[
            LinkLine(kind=link.kind.value, value=link.value, confidence=link.confidence.value)
            for link in placement.links
        ],
    )
