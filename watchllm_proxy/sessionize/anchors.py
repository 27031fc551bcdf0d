"""What later calls may hang on: a bounded index of ids, contexts and failed bodies, per project.

The index is a function of the newest anchors put into it in order, so it is restored by putting the stored ones
back. Time comes from the calls: an anchor older than the horizon is not found, whether or not it has been
removed yet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from watchllm_proxy.records import Anchor, Call, ExchangeEnd, record

MAX_PENDING_FAILURES = 64
"""Failed attempts with one and the same body that may wait for their retry; older ones are given up."""

ABORT_NOTICE_US = 1_000_000
"""A client that leaves may try again before the proxy has noticed that it left."""


class AnchorKind(StrEnum):
    ISSUED_ID = "issued_id"
    REISSUED_ID = "reissued_id"  # the same id came from calls of different runs: it proves less
    RUN = "run"  # an explicit run id
    AGENT = "agent"  # an agent context of a session: `agent_key`
    CONVERSATION = "conversation"
    TRACE = "trace"
    FAILED_REQUEST = "failed_request"  # `failure_value`; step_index None: a retry has claimed it
    AWAITED = "awaited"  # `histories.awaited`: what a call goes on from, and nobody has answered so far
    STATE = "state"  # `histories.state_mark`: a history with its answer, which a later request may extend
    SAID = "said"  # `marks.text_mark`: what an answer said
    ASKED = "asked"  # `marks.asked_mark`: a prompt that stands alone, and the lines of its answer
    OBSERVED = "observed"  # `marks.text_mark`: what tools answered
    TASK = "task"  # `marks.text_mark`: a string argument of a tool call, which a sub-agent may be given
    HELPER = "helper"  # a call and its kind: made inside the tool call (`step_index`) of its own run
    CHILD = "child"  # a run's id: the tool call (`call_id`, `step_index`) of the run `run_id` that started it
    VERIFIED = "verified"  # the same, and that tool call's result holds the child's answer
    MOVED = "moved"  # a run's id: the session that it was moved to after its other anchors were made


_NOTED_APART = frozenset({AnchorKind.FAILED_REQUEST, AnchorKind.MOVED})

_Key = tuple[str, str, str]
_BodyKey = tuple[str, str]


@record
class Failure:
    """A failed attempt that waits for its retry."""

    anchor: Anchor
    client_address: str
    was_answered: bool  # with an error; else the connection broke, or the client left

    @property
    def ended_at_us(self) -> int:
        """Not later than a retry can have begun."""
        return self.anchor.at_us - (0 if self.was_answered else ABORT_NOTICE_US)

    @classmethod
    def read(cls, anchor: Anchor) -> Failure:
        _, outcome, client_address, _ = anchor.value.split(" ")
        return cls(anchor, client_address, outcome == _ANSWERED)


_ANSWERED, _CUT = "answered", "cut"


def failure_value(call: Call) -> str:
    """Unique per attempt, and starts with the body's hash."""
    outcome = _ANSWERED if call.end is ExchangeEnd.COMPLETE else _CUT
    return f"{call.request_hash.hex()} {outcome} {call.client_address.replace(' ', '')} {call.call_id}"


class AnchorIndex:
    """Holds what is among the last `window` anchors put anywhere (`Anchor.seq`). Every operation is amortised
    O(1)."""

    def __init__(self, *, horizon_us: int, window: int) -> None:
        self._horizon_us = horizon_us
        self._window = window
        self._anchors: OrderedDict[_Key, Anchor] = OrderedDict()
        self._failures: dict[_BodyKey, dict[str, Anchor]] = {}
        self._moved: dict[tuple[str, str], str] = {}  # (project, run) -> session
        self._kinds: set[str] = set()  # of which there has been any

    def __len__(self) -> int:
        return len(self._anchors)

    def has_any(self, kind: AnchorKind) -> bool:
        """There has been one, of any project and any age: most look-ups are for kinds of which there never was."""
        return kind in self._kinds

    def find(self, project_id: str, kind: AnchorKind, value: str, at_us: int) -> Anchor | None:
        anchor = self._anchors.get((project_id, kind, value)) if kind in self._kinds else None
        if anchor is None or at_us - anchor.at_us > self._horizon_us:
            return None
        return self.current(anchor)

    def issuer(self, project_id: str, value: str, at_us: int) -> Anchor | None:
        """Who gave this id: REISSUED_ID, and the last of them, where it was given in several sessions."""
        reissued = self.find(project_id, AnchorKind.REISSUED_ID, value, at_us)
        return reissued or self.find(project_id, AnchorKind.ISSUED_ID, value, at_us)

    def current(self, anchor: Anchor) -> Anchor:
        """The same with the session of its run as it is now: the run may have been moved since."""
        session_id = self._moved.get((anchor.project_id, anchor.run_id))
        return anchor if session_id is None else replace(anchor, session_id=session_id)

    def put(self, anchor: Anchor) -> None:
        """Add or replace (last one wins), and let those go that have fallen out of the window."""
        key = (anchor.project_id, anchor.kind, anchor.value)
        self._anchors.pop(key, None)
        self._anchors[key] = anchor
        self._kinds.add(anchor.kind)
        if anchor.kind == AnchorKind.FAILED_REQUEST:
            self._put_failure(anchor)
        elif anchor.kind == AnchorKind.MOVED:
            self._moved[anchor.project_id, anchor.value] = anchor.session_id
        self._keep_window(anchor.seq)

    def load(self, anchors: Sequence[Anchor]) -> None:
        """The same as to put one after the other into an empty index. Nearly all are ids: nothing else to note."""
        for anchor in anchors:
            if anchor.kind in _NOTED_APART:
                self.put(anchor)
            else:
                self._anchors[anchor.project_id, anchor.kind, anchor.value] = anchor
        self._kinds.update({anchor.kind for anchor in anchors})
        if anchors:
            self._keep_window(anchors[-1].seq)

    def _keep_window(self, newest_seq: int) -> None:
        while next(iter(self._anchors.values())).seq <= newest_seq - self._window:
            self._drop_oldest()

    def forget_before(self, at_us: int) -> None:
        while self._anchors and next(iter(self._anchors.values())).at_us < at_us:
            self._drop_oldest()

    def failures(self, project_id: str, body: str, started_at_us: int, window_us: int) -> list[Failure]:
        """Failed attempts with this body, not yet claimed, that a call started now may retry; oldest first."""
        pending = self._failures.get((project_id, body))
        if not pending:
            return []
        found = (Failure.read(self.current(anchor)) for anchor in sorted(pending.values(), key=_age_order))
        return [f for f in found if f.ended_at_us <= started_at_us <= f.ended_at_us + window_us]

    def _put_failure(self, anchor: Anchor) -> None:
        body_key = _body_key(anchor)
        pending = self._failures.setdefault(body_key, {})
        if anchor.step_index is None:
            pending.pop(anchor.value, None)
        else:
            pending[anchor.value] = anchor
        if len(pending) > MAX_PENDING_FAILURES:
            del pending[min(pending.values(), key=_age_order).value]
        if not pending:
            del self._failures[body_key]

    def _drop_oldest(self) -> None:
        _, anchor = self._anchors.popitem(last=False)
        if anchor.kind == AnchorKind.MOVED:
            self._moved.pop((anchor.project_id, anchor.value), None)
        if anchor.kind != AnchorKind.FAILED_REQUEST:
            return
        body_key = _body_key(anchor)
        pending = self._failures.get(body_key, {})
        pending.pop(anchor.value, None)
        if not pending:
            self._failures.pop(body_key, None)


def agent_key(session_id: str, agent_id: str) -> str:
    """One agent's context inside one session. The main agent's id is ""."""
    return f"{session_id}\n{agent_id}"


def _body_key(anchor: Anchor) -> _BodyKey:
    return anchor.project_id, anchor.value.split(" ", 1)[0]


def _age_order(anchor: Anchor) -> tuple[int, str]:
    return anchor.at_us, str(anchor.call_id)
