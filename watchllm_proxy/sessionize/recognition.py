"""Recognising a call by what it repeats: the look-ups behind rules 4 to 6, and how equals are told apart.

Ties are broken by what is no evidence alone: who was waiting, who shares client and connection, and time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Sequence
from typing import TypeAlias

from watchllm_proxy.records import Anchor, Call, record
from watchllm_proxy.sessionize import fingerprints, histories, marks, names, turns
from watchllm_proxy.sessionize.anchors import AnchorIndex, AnchorKind
from watchllm_proxy.sessionize.children import Children
from watchllm_proxy.sessionize.clients import Client
from watchllm_proxy.sessionize.connections import Connections
from watchllm_proxy.sessionize.fingerprints import Fingerprints
from watchllm_proxy.sessionize.marks import Mark
from watchllm_proxy.sessionize.person import NOTHING_SAID, SaidByPeople
from watchllm_proxy.sessionize.recent import once_a_call
from watchllm_proxy.sessionize.run_state import RunKey, RunState
from watchllm_proxy.sessionize.text_index import TextIndex

MAX_CANDIDATES = 256

MIN_PROMPT_SHARE = 0.3
"""Of an earlier prompt: the task is told again, its instructions may differ from step to step."""

MIN_FOREIGN_TASK_SHARE = 0.5
"""Of a message of another program: a few words of it may be anybody's."""

MAX_AWAITING = 32
"""Calls that began alike, the newest: of so many none could be told from the others."""

FindRun = Callable[[RunKey], RunState | None]
"""The run in memory, as it is for a call of this time; None: unknown, forgotten, or closed for good."""


@record
class Evidence:
    """What a rule may look at besides the call."""

    anchors: AnchorIndex
    texts: TextIndex
    children: Children
    connections: Connections
    silence_us: int
    find_run: FindRun
    runs_of: Callable[[str, str], list[RunState]]  # (project, session): those in memory
    said: SaidByPeople = NOTHING_SAID
    expect: Callable[[Iterable[RunKey]], None] = lambda keys: None  # `find_run` will be asked for these


@record
class Found:
    """An anchor that the call repeats. `is_exclusive`: nobody else's would fit."""

    anchor: Anchor
    is_exclusive: bool

    @classmethod
    def of(cls, anchor: Anchor, is_exclusive: bool, evidence: Evidence) -> Found:
        return cls(evidence.anchors.current(anchor), is_exclusive)


def same_history(call: Call, evidence: Evidence) -> Found | None:
    """The state that this request extends: the longest known beginning of its conversation."""
    for state in histories.states(call):
        owners = evidence.texts.owners(call.project_id, AnchorKind.STATE, state, call.started_at_us)
        usable = _from_same_host(owners, call)
        if usable:
            session_id = session_of(usable[0], evidence)
            is_exclusive = all(session_of(anchor, evidence) == session_id for anchor in usable)
            return Found.of(_likeliest(call, usable, evidence), is_exclusive, evidence)
    return None


def fork_of(call: Call, session_id: str, evidence: Evidence) -> Anchor | None:
    """The first call of the session that went on from the state from which this one goes on, by the same agent:
    another agent (a summary, a title) only reads along."""
    state = histories.extended_token(call)
    if state is None:
        return None
    owners = evidence.texts.owners(call.project_id, AnchorKind.STATE, state, call.started_at_us)
    if not owners:
        return None
    version = names.agent_version(call)
    others = [anchor for anchor in owners if session_of(anchor, evidence) == session_id]
    runs = ((anchor, evidence.find_run((anchor.project_id, anchor.run_id))) for anchor in others)
    same = [anchor for anchor, run in runs if run is not None and run.agent_version == version]
    return min(same, key=_age, default=None)


def returned_text(call: Call, evidence: Evidence) -> Found | None:
    """The answer, else the tool output, that comes back in this request as text.

    A text that several sessions share decides nothing by itself: then only who was waiting for such a
    request, with the same client, comes into question. Tool outputs repeat from run to run, so they count
    only where the request also repeats how that run began.
    """
    present = _all_fingerprints(call)
    said = _from_same_host(_holding(call, AnchorKind.SAID, present, evidence), call)
    exclusive = _exclusive(said, present, evidence)
    if exclusive:
        newest = max(exclusive, key=_age)
        same_session = [a for a in exclusive if session_of(a, evidence) == session_of(newest, evidence)]
        return Found.of(max(same_session, key=_age), True, evidence)
    grown = _grown_prompt(call, present, evidence)
    if grown is not None:
        return grown
    fits = [a for a in said if _is_same_client(a, call)]
    if fits:
        return Found.of(_likeliest(call, _fullest(fits, present), evidence), False, evidence)
    observed = _holding(call, AnchorKind.OBSERVED, present, evidence)
    fits = [a for a in observed if _is_same_client(a, call) and _is_awaited_by(a, call, evidence)]
    return Found.of(_likeliest(call, fits, evidence), False, evidence) if fits else None


def awaited(call: Call, evidence: Evidence) -> Found | None:
    """The one run that began as this request does, and waits for a tool of which this request tells."""
    began, opening = histories.opening_token(call), turns.opening(call)
    told = _told_since(call)
    if began is None or not told:
        return None
    owners = evidence.texts.owners(call.project_id, AnchorKind.STATE, began, call.started_at_us)
    owners = owners[-MAX_AWAITING:]
    waiting: dict[str, Anchor] = {}
    for anchor in owners:
        run = evidence.find_run((anchor.project_id, anchor.run_id))
        if run is None or opening not in run.inputs or not _is_same_client(anchor, call):
            continue
        if speaks_of_open_tool(told, run):
            waiting[run.run_id] = anchor
    port = Client.of(call).port
    fits = [a for a in waiting.values() if len(waiting) == 1 or Mark.read(a).client.port == port]
    return Found.of(fits[0], False, evidence) if len(fits) == 1 else None


def _told_since(call: Call) -> str:
    """All that the conversation tells after the user's first message, and which tools it says were called."""
    said = histories.conversation(call)
    first = next((at for at, message in enumerate(said) if turns.is_user(message)), len(said))
    later = said[first + 1 :]
    called = (tool.name for message in later for tool in message.tool_calls)
    return "\n".join([*(message.text for message in later), *called]).lower()


def given_task(call: Call, evidence: Evidence) -> Found | None:
    """The open tool call of a waiting run whose argument a user message of this request is, or contains.

    Several may be open with the same words: then the one that nobody works on yet and that was opened first.
    """
    client, kind = Client.of(call), kind_of(call)
    tasks: dict[str, tuple[Anchor, int]] = {}
    for message in call.messages:
        if turns.is_user(message) or message.slot == "input":
            present = marks.task_fingerprints(message.text)
            for anchor in _holding(call, AnchorKind.TASK, present, evidence):
                mark = Mark.read(anchor)
                held = max((part for part in mark.parts if present.issuperset(part)), key=len)
                if mark.client.agent == client.agent or marks.task_share(held, present) >= MIN_FOREIGN_TASK_SHARE:
                    tasks[anchor.value] = anchor, len(held)
    evidence.expect((anchor.project_id, anchor.run_id) for anchor, _ in tasks.values())
    asking = [anchor for anchor, _ in tasks.values() if _may_have_asked(anchor, call, evidence)]
    waiting = _from_same_host(asking, call)
    if not waiting:
        return None
    users = evidence.connections.users(call.project_id, call.client_address)
    connected = only_session(users, {session_of(anchor, evidence) for anchor in waiting}, evidence)

    def rank(anchor: Anchor) -> tuple[bool | int | str, ...]:
        its = Mark.read(anchor).client
        return (
            anchor.at_us > call.started_at_us,
            its.agent != client.agent,
            its.style != client.style,
            -tasks[anchor.value][1],  # the longest: "find A and B" holds "find A"
            session_of(anchor, evidence) != connected,
            _workers(anchor, kind, evidence),
            anchor.at_us,
            anchor.value,
        )

    return Found.of(min(waiting, key=rank), len({anchor.run_id for anchor in waiting}) == 1, evidence)


def kind_of(call: Call) -> str:
    """What tells the several calls of one tool apart: the API and the agent."""
    return f"{call.api.value}/{names.agent_version(call) or ''}"


def holders_of(text: str, call: Call, evidence: Evidence) -> list[Anchor]:
    """Answers that this text, brought by the call, holds."""
    return _holding(call, AnchorKind.SAID, fingerprints.fingerprints(text), evidence)


def said_in(call: Call, session_id: str, evidence: Evidence) -> list[Anchor]:
    """Answers of this session that the request holds, the newest first."""
    found = _holding(call, AnchorKind.SAID, _all_fingerprints(call), evidence)
    return sorted((a for a in found if session_of(a, evidence) == session_id), key=_age, reverse=True)


def is_echo(text: str, call: Call, session_id: str, evidence: Evidence) -> bool:
    """This text holds what an answer of the session said."""
    return any(session_of(anchor, evidence) == session_id for anchor in holders_of(text, call, evidence))


def only_session(users: Iterable[Anchor], rivals: Container[str], evidence: Evidence) -> str | None:
    """The session that all users of a connection belong to, if it is one of these. Sub-agents whose place is a
    guess do not count, else one guess would bear out the next; nor does a client that keeps one pool for several
    sessions."""
    firm = [user for user in users if not _is_guess(user, evidence)]
    sessions = {session_of(user, evidence) for user in firm}
    if len(sessions) != 1 or not all(session in rivals for session in sessions):
        return None
    (session,) = sessions
    others = (other for user in firm for other in evidence.connections.sharing((user.project_id, user.run_id)))
    is_own = all(_is_guess(other, evidence) or session_of(other, evidence) == session for other in others)
    return session if is_own else None


def _is_guess(anchor: Anchor, evidence: Evidence) -> bool:
    return evidence.children.is_guess((anchor.project_id, anchor.run_id))


def session_of(anchor: Anchor, evidence: Evidence) -> str:
    return evidence.anchors.current(anchor).session_id


# --- which texts a request holds --------------------------------------------------------------------


@once_a_call
def _all_fingerprints(call: Call) -> Fingerprints:
    return frozenset().union(*(found for _, found in marks.searched(call)))


def _holding(call: Call, kind: AnchorKind, present: Fingerprints, evidence: Evidence) -> list[Anchor]:
    """Anchors of which at least one part is in the request, word for word."""
    owners = evidence.texts.owners_of_any(call.project_id, kind, present, call.started_at_us)
    if not owners:
        return []
    newest = sorted(owners, key=_age)[-MAX_CANDIDATES:]
    return [anchor for anchor in newest if any(map(present.issuperset, Mark.read(anchor).parts))]


def _exclusive(said: Sequence[Anchor], present: Fingerprints, evidence: Evidence) -> list[Anchor]:
    """Those that hold a fingerprint of the request which no other session's text holds."""
    sessions: dict[int, set[str]] = {}
    for anchor in said:
        session = session_of(anchor, evidence)
        for token in Mark.read(anchor).tokens:
            sessions.setdefault(token, set()).add(session)
    return [
        anchor
        for anchor in said
        if any(
            present.issuperset(part) and any(len(sessions[token]) == 1 for token in part)
            for part in Mark.read(anchor).parts
        )
    ]


def _grown_prompt(call: Call, present: Fingerprints, evidence: Evidence) -> Found | None:
    """A prompt that stands alone, and an earlier one of which it holds most, and the whole answer to that."""
    if not marks.stands_alone(call):
        return None
    lines = marks.prompt_lines(call)
    shares: dict[str, tuple[float, Anchor]] = {}  # by the call that was asked so
    for anchor in evidence.texts.owners_of_any(call.project_id, AnchorKind.ASKED, lines, call.started_at_us):
        asked, *answered = Mark.read(anchor).parts
        held = fingerprints.share(asked, present)
        if held >= MIN_PROMPT_SHARE and all(map(lines.issuperset, answered)) and _is_same_client(anchor, call):
            shares[anchor.value] = held, anchor
    if not shares:
        return None
    newest = _fullest([anchor for _, anchor in shares.values()], present | lines)
    most = max(shares[anchor.value][0] for anchor in newest)
    best = [anchor for anchor in newest if shares[anchor.value][0] == most]
    return Found.of(_likeliest(call, best, evidence), len(best) == 1, evidence)


def _fullest(anchors: Sequence[Anchor], present: Fingerprints) -> list[Anchor]:
    """The newest answer of each run of which the request holds most: a run that is a step behind said only
    the first part of it."""
    held: dict[str, set[int]] = {}
    newest: dict[str, Anchor] = {}
    for anchor in sorted(anchors, key=_age):
        parts = (part for part in Mark.read(anchor).parts if present.issuperset(part))
        held.setdefault(anchor.run_id, set()).update(*parts)
        newest[anchor.run_id] = anchor
    most = max(map(len, held.values()))
    return [anchor for run_id, anchor in newest.items() if len(held[run_id]) == most]


# --- who is it, of several ------------------------------------------------------------------------


_Candidate: TypeAlias = tuple[Anchor, RunState | None]
_Criterion: TypeAlias = Callable[[Anchor, RunState | None], bool | int]


def _likeliest(call: Call, anchors: Iterable[Anchor], evidence: Evidence) -> Anchor:
    """Each criterion is asked only of those that all before it have left: of equal runs there are hundreds."""
    anchors = list(anchors)
    evidence.expect((anchor.project_id, anchor.run_id) for anchor in anchors)
    left: list[_Candidate] = [(a, evidence.find_run((a.project_id, a.run_id))) for a in anchors]
    for criterion in _criteria(call):
        if len(left) == 1:
            break
        judged = [criterion(anchor, run) for anchor, run in left]
        best = min(judged)
        left = [candidate for candidate, found in zip(left, judged, strict=True) if found == best]
    return left[0][0]


def _criteria(call: Call) -> tuple[_Criterion, ...]:
    """The least of each is the likelier. The order: whose beginning it repeats, who shares the connection, who
    waits for just this, who is called for in the same style, and then who has waited longest."""
    client, opening = Client.of(call), turns.opening(call)
    version = names.agent_version(call)
    is_agents_first = bool(call.tool_names) and not turns.has_past(call)
    last_said = next((message.text.lower() for message in reversed(turns.parts(call).users)), "")

    def is_done_with_tools(run: RunState | None) -> bool:
        return run is not None and run.is_finished and run.has_used_tools

    return (
        lambda anchor, run: anchor.at_us > call.started_at_us,
        lambda anchor, run: run is None or opening not in run.inputs,
        lambda anchor, run: Mark.read(anchor).client.agent != client.agent,
        lambda anchor, run: Mark.read(anchor).client.port != client.port,
        lambda anchor, run: run is None or (run.is_finished and run.has_used_tools is not is_agents_first),
        lambda anchor, run: run is None or not speaks_of_open_tool(last_said, run),
        lambda anchor, run: run is None or run.last_call_id != anchor.call_id,
        lambda anchor, run: Mark.read(anchor).client.style != client.style,
        lambda anchor, run: run is None or run.agent_version != version,
        lambda anchor, run: -anchor.at_us if is_done_with_tools(run) else anchor.at_us,
        lambda anchor, run: anchor.call_id.int,
    )


def _may_have_asked(task: Anchor, call: Call, evidence: Evidence) -> bool:
    """The tool call is open, and the call is not just another run of the same agent with the same question."""
    run = evidence.find_run((task.project_id, task.run_id))
    if run is None or task.step_index is None or not run.is_open(task.step_index):
        return False
    is_twin = turns.opening(call) in run.inputs and run.agent_version == names.agent_version(call)
    return not is_twin


def _workers(task: Anchor, kind: str, evidence: Evidence) -> int:
    """How many work on this tool call already: runs, and calls of this kind."""
    runs = sum(evidence.find_run(key) is not None for key in evidence.children.of_task(task))
    return runs + evidence.children.helpers(task, kind)


def speaks_of_open_tool(told: str, run: RunState) -> bool:
    """The text, in small letters, names a tool that the run waits for: what a hand-off leaves of its own call."""
    names_of_open = (re.findall(r"[a-z]{4,}", name.lower()) for name in run.open_tool_names)
    return any(words and all(word in told for word in words) for words in names_of_open)


def _is_awaited_by(anchor: Anchor, call: Call, evidence: Evidence) -> bool:
    """The run is in the middle of its work, and this request repeats how it began."""
    run = evidence.find_run((anchor.project_id, anchor.run_id))
    return run is not None and not run.is_finished and turns.opening(call) in run.inputs


def _from_same_host(anchors: Sequence[Anchor], call: Call) -> list[Anchor]:
    host = Client.of(call).host
    return [anchor for anchor in anchors if Mark.read(anchor).client.host == host]


def _is_same_client(anchor: Anchor, call: Call) -> bool:
    its, client = Mark.read(anchor).client, Client.of(call)
    return (its.host, its.agent) == (client.host, client.agent)


def _age(anchor: Anchor) -> tuple[int, int]:
    return anchor.at_us, anchor.call_id.int
