"""Which anchors a fingerprint belongs to: a bounded inverted index of states, texts and tasks, per project.

A function of the anchors put into it in order, as `AnchorIndex` is. Of a fingerprint that very many texts
share (a template) only the newest owners are kept: it proves nothing anyway.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import TypeAlias

from watchllm_proxy.records import Anchor
from watchllm_proxy.sessionize import marks
from watchllm_proxy.sessionize.anchors import AnchorKind
from watchllm_proxy.sessionize.fingerprints import Fingerprints

INDEXED_KINDS = frozenset(
    {AnchorKind.STATE, AnchorKind.SAID, AnchorKind.ASKED, AnchorKind.OBSERVED, AnchorKind.TASK}
)

MAX_OWNERS = 256

CLOCK_SLACK_US = 1_000_000
"""A client may act on the last words of a stream before the proxy has noted its end."""

_Key = tuple[str, str, str]

_Owners: TypeAlias = Anchor | dict[str, Anchor]
"""One owner is kept bare: nearly all fingerprints have one. Several by their values, oldest first."""


class TextIndex:
    """Holds what is among the last `window` anchors put anywhere (`Anchor.seq`)."""

    def __init__(self, *, horizon_us: int, window: int) -> None:
        self._horizon_us = horizon_us
        self._window = window
        self._anchors: OrderedDict[_Key, Anchor] = OrderedDict()
        self._owners: dict[tuple[str, str], dict[int, _Owners]] = {}  # by project and kind

    def __len__(self) -> int:
        return len(self._anchors)

    def put(self, anchor: Anchor, tokens: Collection[int] | None = None) -> None:
        """`tokens`: those of the anchor, where they are known already."""
        key = (anchor.project_id, anchor.kind, anchor.value)
        known = self._anchors.pop(key, None)
        if known is not None:
            self._unlist(known)
        self._anchors[key] = anchor
        self._list(anchor, marks.tokens_of(anchor) if tokens is None else tokens)
        self._keep_window(anchor.seq)

    def load(self, anchors: Sequence[Anchor]) -> None:
        """The same as to put one after the other into an empty index."""
        for anchor in anchors:
            self._anchors[anchor.project_id, anchor.kind, anchor.value] = anchor
            self._list(anchor, marks.tokens_of(anchor))
        if anchors:
            self._keep_window(anchors[-1].seq)

    def _keep_window(self, newest_seq: int) -> None:
        while next(iter(self._anchors.values())).seq <= newest_seq - self._window:
            self._drop_oldest()

    def owners(self, project_id: str, kind: AnchorKind, token: int, at_us: int) -> list[Anchor]:
        """Oldest first; none from after `at_us`: what had not been said could not be repeated."""
        return self.owners_of_any(project_id, kind, frozenset((token,)), at_us)

    def owners_of_any(self, project_id: str, kind: AnchorKind, tokens: Fingerprints, at_us: int) -> list[Anchor]:
        """Those of each of the fingerprints, in the order of these; every anchor once."""
        listed = self._owners.get((project_id, kind))
        if listed is None:
            return []
        held = listed.keys() & tokens
        if not held:
            return []
        found: dict[str, Anchor] = {}
        for token in sorted(held):
            owners = listed[token]
            if isinstance(owners, dict):
                found.update(owners)
            else:
                found[owners.value] = owners
        horizon_us = self._horizon_us
        return [a for a in found.values() if -CLOCK_SLACK_US <= at_us - a.at_us <= horizon_us]

    def forget_before(self, at_us: int) -> None:
        while self._anchors and next(iter(self._anchors.values())).at_us < at_us:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, anchor = self._anchors.popitem(last=False)
        self._unlist(anchor)

    def _list(self, anchor: Anchor, tokens: Collection[int]) -> None:
        listed = self._owners.setdefault((anchor.project_id, anchor.kind), {})
        if listed.keys().isdisjoint(tokens):  # nearly always: listed at once, for a restart lists a million
            listed.update(dict.fromkeys(tokens, anchor))
            return
        for token in set(tokens):
            owners = listed.setdefault(token, anchor)
            if isinstance(owners, dict):
                owners[anchor.value] = anchor
                if len(owners) > MAX_OWNERS:
                    del owners[next(iter(owners))]
            elif owners is not anchor:
                listed[token] = {owners.value: owners, anchor.value: anchor}

    def _unlist(self, anchor: Anchor) -> None:
        listed = self._owners[anchor.project_id, anchor.kind]
        for token in marks.tokens_of(anchor):
            owners = listed.get(token)
            if isinstance(owners, dict):
                owners.pop(anchor.value, None)
            if not owners or owners is anchor:
                listed.pop(token, None)
        if not listed:
            del self._owners[anchor.project_id, anchor.kind]
