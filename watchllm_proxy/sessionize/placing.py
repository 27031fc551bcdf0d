"""From clues to a place: which run, which session, which parent. Pure look-ups, nothing is changed here.

Conflicts are resolved by strength, the order of `rules.RULES`; every clue stays visible as a link:

* An explicit run id names the run, whatever else is said.
* An explicit session id names the session. Evidence that leads out of it cannot place the call.
* A sub-agent's id admits evidence from its own context only: it may have inherited its parent's history.
* Evidence that leads to a run which has given its final answer starts the next run of that session, where
  the call brings a new user message. Without one (a repeat, a fork, a check of the answer) the call stays.
* No evidence: a new run. A wrong merge is worse than a missing one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from watchllm_proxy.records import Anchor, Call, Confidence, Link, LinkKind
from watchllm_proxy.sessionize import turns
from watchllm_proxy.sessionize.anchors import AnchorIndex, AnchorKind
from watchllm_proxy.sessionize.rules import Clue
from watchllm_proxy.sessionize.run_state import RunKey, RunState

RUN_NAMESPACE = UUID("7f0f7c0c-3f0e-5d4c-9a7e-57a7c4110e11")

FindRun = Callable[[RunKey], RunState | None]
"""The run in memory, as it is for a call of this time; None: unknown, forgotten, or closed for good."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call goes. `run_id` may name a run that is not in memory yet: then the call begins it."""

    run_id: str
    session_id: str
    parent_run_id: str | None
    is_explicit: bool
    links: tuple[Link, ...]
    follows_run_id: str | None  # another run that evidence led to: the one before, as a rule
    foreign_traces: frozenset[str]  # trace ids of this call that belong to another run already
    retries: Anchor | None  # the failed attempt that this call tries again, in the same run


def place(call: Call, clues: Sequence[Clue], anchors: AnchorIndex, find_run: FindRun) -> Place:
    named_run = next((clue for clue in clues if clue.names_run is not None), None)
    session_id = _named_session(clues)
    parent_run_id = _parent(clues)
    decisive: Clue | None
    if named_run is not None and named_run.names_run is not None:
        run_id, decisive = named_run.names_run, named_run
        session_id = session_id or _session_of_run(call, run_id, parent_run_id, clues, anchors)
        target = None
    else:
        target = next((c for c in clues if c.leads_to is not None and _is_usable(c, clues, session_id)), None)
        run_id, decisive = _run_by_evidence(call, target, find_run)
        session_id = session_id or _session_by_evidence(call, run_id, target, parent_run_id, anchors)
    return Place(
        run_id=run_id,
        session_id=session_id,
        parent_run_id=None if parent_run_id == run_id else parent_run_id,
        is_explicit=named_run is not None,
        links=_links(call, decisive, clues),
        follows_run_id=_previous(clues, run_id),
        foreign_traces=frozenset(_foreign_traces(clues, run_id)),
        retries=_retried(clues, run_id),
    )


def inferred_run_id(call: Call) -> str:
    """The id of the run that this call begins: the same whenever the same log is read."""
    return str(uuid5(RUN_NAMESPACE, str(call.call_id)))


def _run_by_evidence(call: Call, target: Clue | None, find_run: FindRun) -> tuple[str, Clue | None]:
    if target is None or target.leads_to is None:
        return inferred_run_id(call), None
    run = find_run((call.project_id, target.leads_to.run_id))
    if run is None or starts_next_turn(call, run):
        return inferred_run_id(call), target
    return run.run_id, target


def starts_next_turn(call: Call, run: RunState) -> bool:
    """The run has given its final answer, and the user has said something since."""
    return run.is_finished and any(i.occurrence not in run.inputs for i in turns.user_inputs(call))


def _is_usable(clue: Clue, clues: Sequence[Clue], session_id: str | None) -> bool:
    if clue.leads_to is None or (session_id is not None and clue.leads_to.session_id != session_id):
        return False
    is_sub_agents = any(c.link.kind is LinkKind.EXPLICIT_AGENT for c in clues)
    return not is_sub_agents or clue.link.kind is LinkKind.EXPLICIT_AGENT


def _named_session(clues: Sequence[Clue]) -> str | None:
    return next((clue.names_session for clue in clues if clue.names_session is not None), None)


def _parent(clues: Sequence[Clue]) -> str | None:
    return next((clue.names_parent for clue in clues if clue.names_parent is not None), None)


def _session_of_run(
    call: Call, run_id: str, parent_run_id: str | None, clues: Sequence[Clue], anchors: AnchorIndex
) -> str:
    """A run that the client named without a session: its own from before, its parent's, the one that its
    history comes from; else it is the root of a new session, which is called like its first run."""
    known = anchors.find(call.project_id, AnchorKind.RUN, run_id, call.started_at_us)
    if known is not None:
        return known.session_id
    if parent_run_id is not None:
        return _session_of_parent(call, parent_run_id, anchors)
    return next((clue.leads_to.session_id for clue in clues if clue.leads_to is not None), run_id)


def _session_by_evidence(
    call: Call, run_id: str, target: Clue | None, parent_run_id: str | None, anchors: AnchorIndex
) -> str:
    if target is not None and target.leads_to is not None:
        return target.leads_to.session_id
    return run_id if parent_run_id is None else _session_of_parent(call, parent_run_id, anchors)


def _session_of_parent(call: Call, parent_run_id: str, anchors: AnchorIndex) -> str:
    """The parent's first call may end after the child's: then the session is called like the parent, as it
    will be."""
    parent = anchors.find(call.project_id, AnchorKind.RUN, parent_run_id, call.started_at_us)
    return parent.session_id if parent is not None else parent_run_id


def _previous(clues: Sequence[Clue], run_id: str) -> str | None:
    anchors = (clue.leads_to for clue in clues)
    return next((a.run_id for a in anchors if a is not None and a.run_id != run_id), None)


def _foreign_traces(clues: Sequence[Clue], run_id: str) -> Iterator[str]:
    for clue in clues:
        if clue.link.kind is LinkKind.TRACE and clue.leads_to is not None and clue.leads_to.run_id != run_id:
            yield clue.link.value


def _retried(clues: Sequence[Clue], run_id: str) -> Anchor | None:
    anchors = (clue.leads_to for clue in clues if clue.link.kind is LinkKind.RETRY)
    return next((anchor for anchor in anchors if anchor is not None and anchor.run_id == run_id), None)


def _links(call: Call, decisive: Clue | None, clues: Sequence[Clue]) -> tuple[Link, ...]:
    """The deciding link first. A call that shows a past which nobody here saw is only probably a new run."""
    if decisive is not None:
        others = [clue.link for clue in clues if clue is not decisive]
        return (decisive.link, *others)
    confidence = Confidence.PROBABLE if turns.has_past(call) else Confidence.CERTAIN
    new_run = Link(LinkKind.NEW_RUN, "", confidence)
    named = [clue.link for clue in clues if clue.names_session is not None]
    others = [clue.link for clue in clues if clue.names_session is None]
    return (*named, new_run, *others)
