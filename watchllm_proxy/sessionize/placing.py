"""From clues to a place: which run, which session, which parent. Pure look-ups, nothing is changed here.

Conflicts are resolved by strength, the order of `rules.RULES`; every clue stays visible as a link:

* A person names run, session and parent. What would have been without that is kept behind it, as links.
* An explicit run id names the run, whatever else is said.
* An explicit session id names the session. Evidence that leads out of it cannot place the call.
* A sub-agent's id admits evidence from its own context only: it may have inherited its parent's history.
* Evidence that leads to a run which has given its final answer starts the next run of that session, where
  the call brings a new user message. Without one (a repeat, a fork, a check of the answer) the call stays.
* No evidence: a new run. A wrong merge is worse than a missing one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from uuid import UUID, uuid5

from watchllm_proxy.records import Anchor, Call, Confidence, Link, LinkKind, record
from watchllm_proxy.sessionize import recognition, rules, turns
from watchllm_proxy.sessionize.anchors import AnchorIndex, AnchorKind
from watchllm_proxy.sessionize.recognition import Evidence
from watchllm_proxy.sessionize.rules import Clue
from watchllm_proxy.sessionize.run_state import RunState
from watchllm_proxy.sessionize.turns import UserInput

RUN_NAMESPACE = UUID("7f0f7c0c-3f0e-5d4c-9a7e-57a7c4110e11")

_CONTINUES = frozenset(
    {
        LinkKind.EXPLICIT_AGENT,
        LinkKind.PREVIOUS_RESPONSE,
        LinkKind.CONVERSATION,
        LinkKind.RETRY,
        LinkKind.TRACE,
        LinkKind.HISTORY,
    }
)
"""Evidence that by its nature continues the context that it points at."""


@record
class Place:
    """Where a call goes. `run_id` may name a run that is not in memory yet: then the call begins it."""

    run_id: str
    session_id: str
    parent_run_id: str | None
    is_explicit: bool
    links: tuple[Link, ...]
    inputs: tuple[UserInput, ...]  # what the user says in it that the run has not heard yet
    follows_run_id: str | None  # another run that evidence led to: the one before, as a rule
    foreign_traces: frozenset[str]  # trace ids of this call that belong to another run already
    retries: Anchor | None  # the failed attempt that this call tries again, in the same run
    task: Anchor | None  # the tool call that started this run
    helps: Anchor | None  # the tool call, of this very run, that this call was made in
    follower: Anchor | None  # what a call left, seen before, that goes on from this one's answer


def place(call: Call, clues: Sequence[Clue], evidence: Evidence) -> Place:
    said = next((clue for clue in clues if rules.is_person(clue)), None)
    found = _place_found(call, [clue for clue in clues if clue is not said], evidence)
    forks = tuple(_forks(call, found.session_id, evidence))
    if forks:
        found = replace(found, links=found.links + forks)
    return found if said is None else _place_said(call, said, clues, found, evidence)


def _place_said(call: Call, said: Clue, clues: Sequence[Clue], found: Place, evidence: Evidence) -> Place:
    """Where a person put the call that would have been `found` elsewhere, or just there."""
    assert said.names_run is not None and said.names_session is not None  # noqa: PT018, S101 - rules.person
    run_id, session_id = said.names_run, said.names_session
    return replace(
        found,
        run_id=run_id,
        session_id=session_id,
        parent_run_id=said.names_parent,
        is_explicit=any(c.link.kind is LinkKind.EXPLICIT_RUN and c.names_run == run_id for c in clues),
        links=(said.link, *found.links),
        inputs=_new_inputs(call, evidence.find_run((call.project_id, run_id)), session_id, evidence),
        follows_run_id=_previous(clues, run_id),
        foreign_traces=frozenset(_foreign_traces(clues, run_id)),
        retries=_retried(clues, run_id),
        task=None,
        follower=None,
        helps=found.helps if found.run_id == run_id else None,
    )


def _place_found(call: Call, clues: Sequence[Clue], evidence: Evidence) -> Place:
    anchors = evidence.anchors
    named_run = next((clue for clue in clues if clue.names_run is not None), None)
    session_id = _named_session(clues)
    parent_run_id = _parent(clues)
    task: Anchor | None = None
    helps: Anchor | None = None
    decisive: Clue | None
    if named_run is not None and named_run.names_run is not None:
        run_id, decisive = named_run.names_run, named_run
        session_id = session_id or _session_of_run(call, run_id, parent_run_id, clues, anchors)
    else:
        target = next((c for c in clues if _is_usable(c, clues, session_id)), None)
        run_id, decisive = _run_by_evidence(call, target, clues, evidence)
        session_id = session_id or _session_by_evidence(call, run_id, target, parent_run_id, anchors)
        if target is not None and target.task is not None:
            task, helps = (target.task, None) if run_id != target.task.run_id else (None, target.task)
            parent_run_id = parent_run_id or target.task.run_id
    return Place(
        run_id=run_id,
        session_id=session_id,
        parent_run_id=None if parent_run_id == run_id else parent_run_id,
        is_explicit=named_run is not None,
        links=_links(call, decisive, clues),
        inputs=_said_by_user(call, evidence.find_run((call.project_id, run_id)), decisive, session_id, evidence),
        follows_run_id=_previous(clues, run_id),
        foreign_traces=frozenset(_foreign_traces(clues, run_id)),
        retries=_retried(clues, run_id),
        task=task,
        helps=helps,
        follower=next((c.leads_to for c in clues if _is_late(c)), None),
    )


def inferred_run_id(call: Call) -> str:
    """The id of the run that this call begins: the same whenever the same log is read."""
    return str(uuid5(RUN_NAMESPACE, str(call.call_id)))


# --- which run --------------------------------------------------------------------------------------


def _run_by_evidence(
    call: Call, target: Clue | None, clues: Sequence[Clue], evidence: Evidence
) -> tuple[str, Clue | None]:
    if target is None:
        return inferred_run_id(call), None
    if target.task is not None:
        return _run_in_tool(call, target.task), target
    assert target.leads_to is not None  # noqa: S101 - _is_usable
    if _is_late(target):
        return target.leads_to.run_id, target
    run = evidence.find_run((call.project_id, target.leads_to.run_id))
    if run is None:
        return inferred_run_id(call), target
    if not _is_next(call, run, target.link.kind, evidence):
        return run.run_id, target
    other = (
        _tried_in(call, run.session_id, clues, evidence)
        or _prepared_for(call, run, evidence)
        or _at_work(call, run, target.link.kind, evidence)
    )
    return (other.run_id if other is not None else inferred_run_id(call)), target


def _is_late(clue: Clue) -> bool:
    """It leads to a call that goes on from this very answer."""
    return clue.leads_to is not None and clue.leads_to.kind == AnchorKind.AWAITED


def _run_in_tool(call: Call, task: Anchor) -> str:
    """A call that offers tools is an agent's; one without is a tool's own question to a model."""
    return inferred_run_id(call) if call.tool_names else task.run_id


def _is_next(call: Call, run: RunState, kind: LinkKind, evidence: Evidence) -> bool:
    """The run has given its final answer or was given up, and this call is not part of the same work.

    A call that carries the conversation on is the next turn where the user has said something since. One
    that only makes use of the answer (a pipeline's next stage, a summary) goes on with the run, but for an
    agent that has used its tools and answered: what comes then is the beginning of something else.
    """
    if not run.is_finished:
        has_ended = _has_answered_unseen(call, run) or _is_given_up(call, run)
        return has_ended and bool(_new_inputs(call, run, run.session_id, evidence))
    if _carries_on(call, run, kind):
        return bool(run.inputs) and bool(_new_inputs(call, run, run.session_id, evidence))
    return run.has_used_tools


def _has_answered_unseen(call: Call, run: RunState) -> bool:
    """By the history, all tools have given their results and the answer is out; its call is still open."""
    said, _ = turns.tail(call)
    if said is None or said.tool_calls or not said.text:
        return False
    open_ids = run.open_tool_ids
    return bool(open_ids) and open_ids.issubset(r.tool_call_id for r in turns.tool_results_newest_first(call))


def _is_given_up(call: Call, run: RunState) -> bool:
    """The user says something new, and of the tools that were asked for last nothing is heard: the agent was
    stopped there, by its user or by a limit."""
    conversation, open_ids = turns.parts(call).said, run.open_tool_ids
    if not open_ids or not conversation or not turns.is_user(conversation[-1]):
        return False
    if turns.new_tool_results(call) or not open_ids.isdisjoint(call.mentioned_ids):
        return False
    said, news = turns.tail(call)
    told = "\n".join(message.text.lower() for message in (said, *news) if message is not None)
    is_of_the_tool = bool(turns.observations(call)) or recognition.speaks_of_open_tool(told, run)
    return not is_of_the_tool


def _tried_in(call: Call, session_id: str, clues: Sequence[Clue], evidence: Evidence) -> RunState | None:
    """The turn that an earlier attempt at this very request began."""
    tried = (c.leads_to for c in clues if c.link.kind is LinkKind.RETRY and c.leads_to is not None)
    runs = (evidence.find_run((call.project_id, a.run_id)) for a in tried if a.session_id == session_id)
    return next((run for run in runs if run is not None), None)


def _carries_on(call: Call, run: RunState, kind: LinkKind) -> bool:
    if kind in _CONTINUES or turns.opening(call) in run.inputs:
        return True
    return kind is LinkKind.ISSUED_ID and turns.has_past(call)


def _prepared_for(call: Call, run: RunState, evidence: Evidence) -> RunState | None:
    """The run of a call that only prepared this turn: it made the summary that this request begins with."""
    found = recognition.said_in(call, run.session_id, evidence)
    runs = (evidence.find_run((call.project_id, anchor.run_id)) for anchor in found)
    return next((r for r in runs if r and r is not run and not r.inputs and not r.has_used_tools), None)


def _at_work(call: Call, run: RunState, kind: LinkKind, evidence: Evidence) -> RunState | None:
    """A call that only makes use of an old answer belongs to what the session is doing now."""
    if _carries_on(call, run, kind):
        return None
    turns_of_it = [
        r for r in evidence.runs_of(run.project_id, run.session_id) if r.parent_run_id == run.parent_run_id
    ]
    newest = max(turns_of_it, key=lambda r: (r.last_activity_at_us, r.run_id), default=None)
    return newest if newest is not None and not newest.is_finished else None


def _said_by_user(
    call: Call, run: RunState | None, decisive: Clue | None, session_id: str, evidence: Evidence
) -> tuple[UserInput, ...]:
    is_retold = decisive is not None and decisive.link.kind is LinkKind.RETURNED_TEXT and not turns.has_past(call)
    if run is not None and is_retold:
        return ()  # the program tells it all anew, in a user message
    return _new_inputs(call, run, session_id, evidence)


def _new_inputs(call: Call, run: RunState | None, session_id: str, evidence: Evidence) -> tuple[UserInput, ...]:
    """User messages that the run has not heard, and that are not what the session itself has said: agents
    talk to each other in user messages."""
    inputs = turns.user_inputs(call)
    if run is not None and inputs:
        inputs = tuple(i for i in inputs if i.occurrence not in run.inputs)
    return tuple([i for i in inputs if not recognition.is_echo(i.text, call, session_id, evidence)])


def _is_usable(clue: Clue, clues: Sequence[Clue], session_id: str | None) -> bool:
    anchor = clue.leads_to or clue.task
    if anchor is None or (session_id is not None and anchor.session_id != session_id):
        return False
    if clue.link.kind is LinkKind.EXPLICIT_AGENT:
        return True
    return all(each.link.kind is not LinkKind.EXPLICIT_AGENT for each in clues)


def _named_session(clues: Sequence[Clue]) -> str | None:
    for clue in clues:
        if clue.names_session is not None:
            return clue.names_session
    return None


def _parent(clues: Sequence[Clue]) -> str | None:
    for clue in clues:
        if clue.names_parent is not None:
            return clue.names_parent
    return None


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
    anchor = (target.leads_to or target.task) if target is not None else None
    if anchor is not None:
        return anchor.session_id
    return run_id if parent_run_id is None else _session_of_parent(call, parent_run_id, anchors)


def _session_of_parent(call: Call, parent_run_id: str, anchors: AnchorIndex) -> str:
    """The parent's first call may end after the child's: then the session is called like the parent, as it
    will be."""
    parent = anchors.find(call.project_id, AnchorKind.RUN, parent_run_id, call.started_at_us)
    return parent.session_id if parent is not None else parent_run_id


def _previous(clues: Sequence[Clue], run_id: str) -> str | None:
    """Not a task's: that run waits for this one."""
    for clue in clues:
        if clue.leads_to is not None and clue.leads_to.run_id != run_id:
            return clue.leads_to.run_id
    return None


def _foreign_traces(clues: Sequence[Clue], run_id: str) -> Iterator[str]:
    for clue in clues:
        if clue.link.kind is LinkKind.TRACE and clue.leads_to is not None and clue.leads_to.run_id != run_id:
            yield clue.link.value


def _retried(clues: Sequence[Clue], run_id: str) -> Anchor | None:
    for clue in clues:
        if clue.link.kind is LinkKind.RETRY and clue.leads_to is not None and clue.leads_to.run_id == run_id:
            return clue.leads_to
    return None


def _forks(call: Call, session_id: str, evidence: Evidence) -> Iterator[Link]:
    """Which call went on from the same state before. It decides nothing: both stay in the session."""
    other = recognition.fork_of(call, session_id, evidence)
    if other is not None:
        yield Link(LinkKind.FORKED_FROM, str(other.call_id), Confidence.CERTAIN, other.call_id, other.step_index)


def _links(call: Call, decisive: Clue | None, clues: Sequence[Clue]) -> tuple[Link, ...]:
    """The deciding link first. A call that shows a past which nobody here saw is only probably a new run; so is
    one whose request is missing or cut: it may have shown one."""
    if decisive is not None:
        others = [clue.link for clue in clues if clue is not decisive]
        return (decisive.link, *others)
    may_have_past = turns.has_past(call) or not call.request_skeleton
    confidence = Confidence.PROBABLE if may_have_past else Confidence.CERTAIN
    new_run = Link(LinkKind.NEW_RUN, "", confidence)
    named = [clue.link for clue in clues if clue.names_session is not None]
    others = [clue.link for clue in clues if clue.names_session is None]
    return (*named, new_run, *others)
