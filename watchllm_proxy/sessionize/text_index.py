"""Which anchors a fingerprint belongs to: a bounded inverted index of states, texts and tasks, per project.

A function of the anchors put into it in order, as `AnchorIndex` is. Of a fingerprint that very many texts
share (a template) only the newest owners are kept: it proves nothing anyway.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

from watchllm_proxy.records import Anchor
from watchllm_proxy.sessionize.anchors import AnchorKind
from watchllm_proxy.sessionize.marks import Mark

INDEXED_KINDS = frozenset(
    {AnchorKind.STATE, AnchorKind.SAID, AnchorKind.ASKED, AnchorKind.OBSERVED, AnchorKind.TASK}
)

MAX_OWNERS = 256

CLOCK_SLACK_US = 1_000_000
"""A client may act on the last words of a stream before the proxy has noted its end."""

_Key = tuple[str, str, str]


class TextIndex:
    """At most `max_texts` anchors of each kind, the oldest dropped first."""

    def __init__(self, *, horizon_us: int, max_texts: int) -> None:
        self._horizon_us = horizon_us
        self._max_texts = max_texts
        self._anchors: dict[str, OrderedDict[_Key, Anchor]] = {kind: OrderedDict() for kind in INDEXED_KINDS}
        # One owner is kept bare: nearly all fingerprints have one.
        self._owners: dict[int, Anchor | list[Anchor]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._anchors.values()))

    def put(self, anchor: Anchor) -> None:
        key = (anchor.project_id, anchor.kind, anchor.value)
        of_kind = self._anchors[anchor.kind]
        known = of_kind.pop(key, None)
        if known is not None:
            self._unlist(known)
        of_kind[key] = anchor
        self._list(anchor)
        while len(of_kind) > self._max_texts:
            self._drop_oldest(anchor.kind)

    def owners(self, project_id: str, kind: AnchorKind, token: int, at_us: int) -> list[Anchor]:
        """Oldest first; none from after `at_us`: what had not been said could not be repeated."""
        found = self._owners.get(token ^ _salt(project_id, kind))
        if found is None:
            return []
        listed = found if isinstance(found, list) else [found]
        # The project is compared too: keys are 64 bits, and two projects never meet.
        return [
            anchor
            for anchor in listed
            if anchor.project_id == project_id and -CLOCK_SLACK_US <= at_us - anchor.at_us <= self._horizon_us
        ]

    def known(self, project_id: str, kind: AnchorKind, tokens: Iterable[int]) -> list[int]:
        """Those that have owners at all: a quick sieve before `owners`."""
        salt = _salt(project_id, kind)
        listed = self._owners
        return [token for token in tokens if token ^ salt in listed]

    def forget_before(self, at_us: int) -> None:
        for kind, of_kind in self._anchors.items():
            while of_kind and next(iter(of_kind.values())).at_us < at_us:
                self._drop_oldest(kind)

    def _drop_oldest(self, kind: str) -> None:
        _, anchor = self._anchors[kind].popitem(last=False)
        self._unlist(anchor)

    def _list(self, anchor: Anchor) -> None:
        salt = _salt(anchor.project_id, anchor.kind)
        for token in set(Mark.read(anchor).tokens()):
            key = token ^ salt
            listed = self._owners.get(key)
            if listed is None:
                self._owners[key] = anchor
            elif isinstance(listed, list):
                listed.append(anchor)
                if len(listed) > MAX_OWNERS:
                    del listed[0]
            else:
                self._owners[key] = [listed, anchor]

    def _unlist(self, anchor: Anchor) -> None:
        salt = _salt(anchor.project_id, anchor.kind)
        for token in set(Mark.read(anchor).tokens()):
            key = token ^ salt
            listed = self._owners.get(key)
            if listed is anchor:
                del self._owners[key]
            elif isinstance(listed, list) and anchor in listed:
                listed.remove(anchor)
                if not listed:
                    del self._owners[key]


@lru_cache(maxsize=4096)
def _salt(project_id: str, kind: str) -> int:
    return int.from_bytes(blake2b(f"{kind}\n{project_id}".encode(), digest_size=8).digest())
