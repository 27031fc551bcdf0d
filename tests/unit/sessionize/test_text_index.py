"""An index that is loaded is the one that was filled by putting one anchor after the other."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.records import Anchor
from watchllm_proxy.sessionize import fingerprints, text_index
from watchllm_proxy.sessionize.anchors import AnchorKind
from watchllm_proxy.sessionize.text_index import TextIndex

CALL = UUID(int=7)
TOKENS = range(1, 9)  # so few that texts share them


def said(seq: int, *sketches: list[int], project: str = "p", kind: AnchorKind = AnchorKind.SAID) -> Anchor:
    parts = " ".join(fingerprints.packed(found) for found in sketches)
    return Anchor(project, kind, f"127.0.0.1:4000 {'0' * 16} {UUID(int=seq)} {parts}", "r", CALL, 1, seq, "r", seq)


ANCHORS = st.lists(
    st.builds(
        lambda sketches, project, kind: (sketches, project, kind),
        st.lists(st.lists(st.sampled_from(TOKENS), min_size=1, max_size=4), min_size=1, max_size=3),
        st.sampled_from(["p", "other"]),
        st.sampled_from([AnchorKind.SAID, AnchorKind.TASK]),
    ),
    max_size=20,
)


def found_in(index: TextIndex) -> dict[tuple[str, AnchorKind, int], list[int]]:
    return {
        (project, kind, token): [owner.seq for owner in index.owners(project, kind, token, 1_000)]
        for project in ("p", "other")
        for kind in (AnchorKind.SAID, AnchorKind.TASK)
        for token in TOKENS
    }


@given(ANCHORS, st.sampled_from([3, 10, 100]), st.sampled_from([2, 256]))
def test_loaded_is_as_put_one_by_one(
    drawn: list[tuple[list[list[int]], str, AnchorKind]], window: int, max_owners: int
) -> None:
    """Whatever the texts share, and however many are kept; and it forgets alike."""
    anchors = [said(n, *found, project=project, kind=kind) for n, (found, project, kind) in enumerate(drawn, 1)]
    text_index.MAX_OWNERS, before = max_owners, text_index.MAX_OWNERS
    try:
        put, loaded = (TextIndex(horizon_us=10**9, window=window) for _ in range(2))
        for anchor in anchors:
            put.put(anchor)
        loaded.load(anchors)
        assert found_in(loaded) == found_in(put)
        assert len(loaded) == len(put) <= window
        for index in (put, loaded):
            index.forget_before(len(anchors) - 1)
        assert found_in(loaded) == found_in(put)
    finally:
        text_index.MAX_OWNERS = before


def test_a_fingerprint_that_a_text_holds_twice_has_one_owner() -> None:
    """The sketch of a text and that of its longest line have much in common."""
    index = TextIndex(horizon_us=10**9, window=10)
    index.load([said(1, [1, 2], [2, 3]), said(2, [2], [2])])
    assert [owner.seq for owner in index.owners("p", AnchorKind.SAID, 2, 100)] == [1, 2]
    assert index.owners("p", AnchorKind.TASK, 2, 100) == []
