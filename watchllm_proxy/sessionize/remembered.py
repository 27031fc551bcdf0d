"""What calls left behind for later ones to hang on: every index over the anchors, filled alike by `observe` and
by a restart."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from uuid import UUID

from watchllm_proxy.records import Anchor, Call
from watchllm_proxy.sessionize.anchors import AnchorIndex, AnchorKind
from watchllm_proxy.sessionize.children import Children
from watchllm_proxy.sessionize.connections import Connections
from watchllm_proxy.sessionize.run_state import RunKey
from watchllm_proxy.sessionize.text_index import INDEXED_KINDS, TextIndex

Numbered = tuple[Anchor, set[int] | None]
"""An anchor with its `seq`, and its fingerprints where they are known already."""

_OF_CHILDREN = frozenset({AnchorKind.CHILD, AnchorKind.VERIFIED, AnchorKind.HELPER})
_INDEXED_APART = INDEXED_KINDS | _OF_CHILDREN
_NOTED_APART = _OF_CHILDREN | {AnchorKind.STATE}


class Remembered:
    """A function of the anchors put into it, in order.

    Anchors are numbered as they are put. The last `max_anchors` of all are remembered, texts only of the last
    `max_texts` of all: so what is forgotten is told by the numbers alone, before and after a restart.
    """

    def __init__(self, *, horizon_us: int, max_anchors: int, max_texts: int) -> None:
        self._horizon_us = horizon_us
        self.anchors = AnchorIndex(horizon_us=horizon_us, window=max_anchors)
        self.texts = TextIndex(horizon_us=horizon_us, window=max_texts)
        self.connections = Connections(window=max_texts)
        self.children = Children(window=max_anchors)
        self._newest_seq = 0
        self._new: dict[tuple[str, str, str], Anchor] = {}

    @property
    def next_seq(self) -> int:
        """Of the anchor that is put next."""
        return self._newest_seq + 1

    def put(self, anchor: Anchor) -> None:
        self.put_all([(replace(anchor, seq=self.next_seq), None)])

    def put_all(self, anchors: Iterable[Numbered]) -> None:
        for anchor, tokens in anchors:
            self._newest_seq = anchor.seq
            self._new[anchor.project_id, anchor.kind, anchor.value] = anchor
            self._index(anchor, tokens)
        self._keep_windows()

    def load(self, anchors: Sequence[Anchor]) -> None:
        """Stored ones, by their numbers, before any is put. Each index loads its own: none looks at another."""
        if not anchors:
            return
        self.texts.load([anchor for anchor in anchors if anchor.kind in INDEXED_KINDS])
        self.anchors.load([anchor for anchor in anchors if anchor.kind not in _INDEXED_APART])
        for anchor in anchors:
            if anchor.kind in _NOTED_APART:
                self._note(anchor)
        self._newest_seq = anchors[-1].seq
        self._keep_windows()

    def drain(self) -> tuple[Anchor, ...]:
        new, self._new = tuple(self._new.values()), {}
        return new

    def issuer(self, call: Call, value: str) -> Anchor | None:
        """Who issued this id before, if anyone of the call's project did."""
        return self.anchors.issuer(call.project_id, value, call.started_at_us)

    def forget_before(self, newest_us: int) -> None:
        self.texts.forget_before(newest_us - self._horizon_us)
        self.anchors.forget_before(newest_us - self._horizon_us)

    def forget_runs(self, keys: Iterable[RunKey]) -> None:
        """What has a meaning only with its run."""
        for key in keys:
            self.children.forget(key)
            self.connections.forget(key)

    def keep_only(self, runs: Container[RunKey]) -> None:
        self.children.keep_only(runs)
        self.connections.keep_only(runs)

    def _index(self, anchor: Anchor, tokens: set[int] | None = None) -> None:
        if anchor.kind in INDEXED_KINDS:
            self.texts.put(anchor, tokens)
        elif anchor.kind not in _OF_CHILDREN:
            self.anchors.put(anchor)
        if anchor.kind in _NOTED_APART:
            self._note(anchor)

    def _note(self, anchor: Anchor) -> None:
        if anchor.kind == AnchorKind.STATE:
            self.connections.put(anchor)
        elif anchor.kind == AnchorKind.HELPER:
            self.children.put_helper(anchor)
        else:
            self.children.put(anchor)

    def _keep_windows(self) -> None:
        """These two do not look at every anchor, so that their windows do not move by themselves."""
        self.children.keep_window(self._newest_seq)
        self.connections.keep_window(self._newest_seq)


def moved_anchor(key: RunKey, session_id: str, call_id: UUID, at_us: int) -> Anchor:
    """This run belongs to this session now, whatever its earlier anchors say."""
    project_id, run_id = key
    return Anchor(project_id, AnchorKind.MOVED, run_id, run_id, call_id, None, at_us, session_id)
