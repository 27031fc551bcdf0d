"""The evidence that places a call, as ordered tables of small rules (docs/detection.md).

Each rule looks at one call and what is known in its project, and yields clues: a link to show, and what it
says about run, session or parent. Three tables, strongest rule first; `placing.place` lets the first clue that
answers a question win, and weaker clues are shown beside it, in agreement or not:

    RULES         ids, and exact repeats of a failed attempt: one look-up each, all of them asked
    INFERENCE     what the request repeats of earlier calls: asked while nothing above has told where it goes
    LAST_RESORTS  what only makes it likely

There is no rule for model, system prompt, user agent or time alone, and none looks beyond the project.
To add a rule, write the function and put it into its table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from watchllm_proxy.records import Anchor, Api, Call, ClientId, ClientIdKind, Confidence, Link, LinkKind, record
from watchllm_proxy.sessionize import histories, recognition, turns
from watchllm_proxy.sessionize.anchors import AnchorKind, Failure, agent_key
from watchllm_proxy.sessionize.marks import Mark
from watchllm_proxy.sessionize.recognition import Evidence, Found

SHARED_KEY_SOURCES = frozenset({"prompt_cache_key"})
"""Body fields that name a session in some harnesses, and in other programs one cache for all sessions: no
evidence. (Codex, which sends its session here, sends it in a header too.)"""

MAIN_AGENT = ""


@record
class Clue:
    """One piece of evidence: a link, always shown, and one thing that it says; a person's clue says all."""

    link: Link
    names_run: str | None = None
    names_session: str | None = None
    names_parent: str | None = None
    leads_to: Anchor | None = None  # continue this anchor's run, or its session with the next one
    task: Anchor | None = None  # an open tool call that asked for this call


Rule: TypeAlias = Callable[[Call, Evidence], Iterator[Clue]]


def person(call: Call, evidence: Evidence) -> Iterator[Clue]:
    """Somebody put this very call where it belongs."""
    said = evidence.said.of_call(call.project_id, call.call_id)
    if said is not None:
        yield Clue(
            said.link, names_run=said.run_id, names_session=said.session_id, names_parent=said.parent_run_id
        )


def explicit_run(call: Call, evidence: Evidence) -> Iterator[Clue]:
    """The id of a run that a person merged into another leads there."""
    for client_id in _ids(call, ClientIdKind.RUN):
        run_id = evidence.said.run_now(call.project_id, client_id.value)
        yield Clue(_explicit(LinkKind.EXPLICIT_RUN, client_id), names_run=run_id)


def explicit_session(call: Call, _: Evidence) -> Iterator[Clue]:
    for client_id in _ids(call, ClientIdKind.SESSION):
        if client_id.source not in SHARED_KEY_SOURCES:
            yield Clue(_explicit(LinkKind.EXPLICIT_SESSION, client_id), names_session=client_id.value)


def explicit_parent(call: Call, evidence: Evidence) -> Iterator[Clue]:
    """The parent run by its id. Some harnesses know only the parent's session: its main agent's latest run."""
    for client_id in _ids(call, ClientIdKind.PARENT_RUN):
        run = _find(call, evidence, AnchorKind.RUN, client_id.value)
        session = _find(call, evidence, AnchorKind.AGENT, agent_key(client_id.value, MAIN_AGENT))
        link = _explicit(LinkKind.EXPLICIT_PARENT, client_id, run or session)
        named = evidence.said.run_now(call.project_id, client_id.value)
        yield Clue(link, names_parent=session.run_id if session and not run else named)


def agent_context(call: Call, evidence: Evidence) -> Iterator[Clue]:
    """A harness's agent id: the calls of one agent, and of nobody else, carry it."""
    agent = agent_of(call)
    if agent is None:
        return
    anchor = _find(call, evidence, AnchorKind.AGENT, agent_key(session_of(call), agent.value))
    yield Clue(_explicit(LinkKind.EXPLICIT_AGENT, agent, anchor), leads_to=anchor)


def parent_agent(call: Call, evidence: Evidence) -> Iterator[Clue]:
    """A sub-agent's parent: the agent that the harness names, else the session's main agent."""
    agent = agent_of(call)
    if agent is None:
        return
    named = next(_ids(call, ClientIdKind.PARENT_AGENT), None)
    parent_id = named.value if named and not _is_main(named, call) else MAIN_AGENT
    anchor = _find(call, evidence, AnchorKind.AGENT, agent_key(session_of(call), parent_id))
    if anchor is not None and (named is not None or parent_id == MAIN_AGENT):
        link = Link(
            LinkKind.EXPLICIT_PARENT,
            named.value if named else agent.value,
            Confidence.CERTAIN if named else Confidence.PROBABLE,
            anchor.call_id,
            anchor.step_index,
        )
        yield Clue(link, names_parent=anchor.run_id)


def previous_response(call: Call, evidence: Evidence) -> Iterator[Clue]:
    for client_id in _ids(call, ClientIdKind.PREVIOUS_RESPONSE):
        if (issuer := _issuer(client_id.value, call, evidence)) is not None:
            yield _lead_to_issuer(LinkKind.PREVIOUS_RESPONSE, client_id.value, issuer)


def issued_id(call: Call, evidence: Evidence) -> Iterator[Clue]:
    """The last id in the body that an upstream gave this project, and to one session only: the newest piece of
    the history, one look-up for each."""
    for value in reversed(call.mentioned_ids):
        issuer = _issuer(value, call, evidence)
        if issuer is not None and not _is_reissued(issuer):
            yield _lead_to_issuer(LinkKind.ISSUED_ID, value, issuer)
            return


def reissued_id(call: Call, evidence: Evidence) -> Iterator[Clue]:
    """The same of an id that several sessions were given ("call_0"): it leads to the last of them. Not asked
    where an id of this session alone is there too."""
    if not evidence.anchors.has_any(AnchorKind.REISSUED_ID):
        return
    for value in reversed(call.mentioned_ids[-2:]):
        issuer = _issuer(value, call, evidence)
        if issuer is not None and not _is_reissued(issuer):
            return
    for value in reversed(call.mentioned_ids):
        issuer = _issuer(value, call, evidence)
        if issuer is not None and _is_reissued(issuer):
            yield _lead_to_issuer(LinkKind.ISSUED_ID, value, issuer)
            return


def late_answer(call: Call, evidence: Evidence) -> Iterator[Clue]:
    """A request that is known already goes on from this answer: its stream was held open, so it ended later. The
    ids that were used prove it; of a state, equals may have left the same."""
    if not evidence.anchors.has_any(AnchorKind.AWAITED):
        return
    for value in call.issued_ids:
        anchor = _awaiting(value, call, evidence)
        if anchor is not None:
            yield _lead(LinkKind.ISSUED_ID, value, Confidence.CERTAIN, anchor)
            return
    state = histories.awaited_by_state(call)
    anchor = _awaiting(state, call, evidence) if state is not None else None
    if anchor is not None:
        yield _lead(LinkKind.HISTORY, str(anchor.call_id), Confidence.PROBABLE, anchor)


def _awaiting(value: str, call: Call, evidence: Evidence) -> Anchor | None:
    """What a request left that goes on from this id or state, and began after this call."""
    anchor = _find(call, evidence, AnchorKind.AWAITED, value)
    follower = evidence.find_run((call.project_id, anchor.run_id)) if anchor is not None else None
    return anchor if follower is not None and follower.started_at_us >= call.started_at_us else None


def conversation(call: Call, evidence: Evidence) -> Iterator[Clue]:
    for client_id in _ids(call, ClientIdKind.CONVERSATION):
        anchor = _find(call, evidence, AnchorKind.CONVERSATION, client_id.value)
        if anchor is not None:
            yield _lead(LinkKind.CONVERSATION, client_id.value, Confidence.CERTAIN, anchor)


def retry(call: Call, evidence: Evidence) -> Iterator[Clue]:
    """The same body on the same connection, after a failed attempt that no retry has claimed yet."""
    for failure in _failures(call, evidence):
        if failure.client_address == call.client_address:
            yield _lead(LinkKind.RETRY, call.request_hash.hex(), Confidence.CERTAIN, failure.anchor)
            return


def retry_elsewhere(call: Call, evidence: Evidence) -> Iterator[Clue]:
    """The same over another connection is only probable: equal runs that start together send equal bodies too.

    An SDK that says "my first attempt" (`x-stainless-retry-count: 0`) after an answered error is believed
    then, for a client keeps the connection of an answer that it has read.
    """
    waiting = _failures(call, evidence)
    if any(failure.client_address == call.client_address for failure in waiting):
        return
    for failure in waiting:
        if not (failure.was_answered and call.retry_count_hint == 0):
            yield _lead(LinkKind.RETRY, call.request_hash.hex(), Confidence.PROBABLE, failure.anchor)
            return


def _failures(call: Call, evidence: Evidence) -> list[Failure]:
    if not may_be_retried(call) or not evidence.anchors.has_any(AnchorKind.FAILED_REQUEST):
        return []
    body = call.request_hash.hex()
    return evidence.anchors.failures(call.project_id, body, call.started_at_us, evidence.silence_us)


def history(call: Call, evidence: Evidence) -> Iterator[Clue]:
    """The conversation so far, system prompt left out, is one that an answer left behind. Where several
    sessions left the same one, it is only probable which of them this is."""
    found = recognition.same_history(call, evidence)
    if found is not None:
        confidence = Confidence.CERTAIN if found.is_exclusive else Confidence.PROBABLE
        yield _lead(LinkKind.HISTORY, _short(found), confidence, found.anchor)


def tool_argument(call: Call, evidence: Evidence) -> Iterator[Clue]:
    """A new thread that was given an argument of an open tool call: a sub-agent, until its answer comes back
    as that call's result only probably so."""
    if turns.has_past(call):
        return
    found = recognition.given_task(call, evidence)
    if found is not None:
        link = Link(
            LinkKind.TOOL_ARGUMENT,
            _tool_call_id(found),
            Confidence.PROBABLE,
            found.anchor.call_id,
            found.anchor.step_index,
        )
        yield Clue(link, task=found.anchor)


def returned_text(call: Call, evidence: Evidence) -> Iterator[Clue]:
    """Words that others have said too tell nothing of a request that answers ids which are still to be seen."""
    found = recognition.returned_text(call, evidence)
    if found is not None and (found.is_exclusive or not _is_ahead(call, evidence)):
        yield _lead(LinkKind.RETURNED_TEXT, _short(found), Confidence.PROBABLE, found.anchor)


def awaited(call: Call, evidence: Evidence) -> Iterator[Clue]:
    """The one run that waits for such a request: it begins alike, and tells of the tools that were asked for."""
    found = recognition.awaited(call, evidence)
    if found is not None:
        yield _lead(LinkKind.HISTORY, _short(found), Confidence.PROBABLE, found.anchor)


def trace(call: Call, evidence: Evidence) -> Iterator[Clue]:
    """One trace is one run at most; but a batch job may have put many runs into one `traceparent`."""
    for client_id in _ids(call, ClientIdKind.TRACE):
        anchor = _find(call, evidence, AnchorKind.TRACE, client_id.value)
        if anchor is not None:
            is_tools_own = client_id.strength <= 3
            confidence = Confidence.CERTAIN if is_tools_own else Confidence.PROBABLE
            yield _lead(LinkKind.TRACE, client_id.value, confidence, anchor)


RULES: tuple[Rule, ...] = (
    person,
    explicit_run,
    explicit_session,
    agent_context,
    explicit_parent,
    parent_agent,
    previous_response,
    issued_id,
    conversation,
    late_answer,
    retry,
)

_OF_CLIENTS_WITH_IDS = frozenset(
    {
        explicit_run,
        explicit_session,
        agent_context,
        explicit_parent,
        parent_agent,
        previous_response,
        conversation,
    }
)
"""Those of them that look at `Call.client_ids`, and nowhere else where these are empty."""

_OF_A_CLIENT_WITHOUT_IDS = tuple(rule for rule in RULES if rule not in _OF_CLIENTS_WITH_IDS)

BY_ID: tuple[Rule, ...] = (agent_context, previous_response, issued_id, conversation)
"""Those of them that cost next to nothing to ask twice, and lead to a run."""

INFERENCE: tuple[Rule, ...] = (
    history,
    tool_argument,
    returned_text,
    awaited,
)
"""Asked in this order, and only while nothing above has told where the call goes: they read the whole request."""


LAST_RESORTS: tuple[Rule, ...] = (
    reissued_id,
    retry_elsewhere,
    trace,
)


def collect(call: Call, evidence: Evidence) -> list[Clue]:
    """Strongest first."""
    asked = RULES if call.client_ids else _OF_A_CLIENT_WITHOUT_IDS
    clues = [clue for rule in asked for clue in rule(call, evidence)]
    for rule in INFERENCE:
        if _tell_where(clues):
            break
        clues += rule(call, evidence)
    return clues + [clue for rule in LAST_RESORTS for clue in rule(call, evidence)]


def _tell_where(clues: Iterable[Clue]) -> bool:
    return any((clue.names_run or clue.leads_to or clue.task) and not is_person(clue) for clue in clues)


def is_person(clue: Clue) -> bool:
    """It overrules what the traffic says, and what that says is still worth knowing."""
    return clue.link.kind is LinkKind.PERSON


def may_be_retried(call: Call) -> bool:
    """Its body says what was asked: not so for a GET."""
    return call.api is not Api.OTHER and call.request_hash != b""


def agent_of(call: Call) -> ClientId | None:
    """The sub-agent's id; None for the main agent, whose id some harnesses give as the session's."""
    agent = next(_ids(call, ClientIdKind.AGENT), None)
    return None if agent is None or _is_main(agent, call) else agent


def session_of(call: Call) -> str:
    """The session that the client names, "" where it names none."""
    named = (i for i in _ids(call, ClientIdKind.SESSION) if i.source not in SHARED_KEY_SOURCES)
    session = next(named, None)
    return session.value if session else ""


def _is_main(agent: ClientId, call: Call) -> bool:
    return agent.value == session_of(call)


def _ids(call: Call, kind: ClientIdKind) -> Iterator[ClientId]:
    """Strongest first; the order of the request among equals."""
    if call.client_ids:
        yield from sorted((i for i in call.client_ids if i.kind is kind and i.value), key=lambda i: i.strength)


def _find(call: Call, evidence: Evidence, kind: AnchorKind, value: str) -> Anchor | None:
    return evidence.anchors.find(call.project_id, kind, value, call.started_at_us)


def _issuer(value: str, call: Call, evidence: Evidence) -> Anchor | None:
    return evidence.anchors.issuer(call.project_id, value, call.started_at_us)


def _is_reissued(issuer: Anchor) -> bool:
    return issuer.kind == AnchorKind.REISSUED_ID


def _lead_to_issuer(kind: LinkKind, value: str, issuer: Anchor) -> Clue:
    return _lead(kind, value, Confidence.PROBABLE if _is_reissued(issuer) else Confidence.CERTAIN, issuer)


def _lead(kind: LinkKind, value: str, confidence: Confidence, anchor: Anchor) -> Clue:
    return Clue(Link(kind, value, confidence, anchor.call_id, anchor.step_index), leads_to=anchor)


def _is_ahead(call: Call, evidence: Evidence) -> bool:
    """It answers tool calls that no answer seen so far has made."""
    said, _ = turns.tail(call)
    asked = [tool.tool_call_id for tool in said.tool_calls if tool.tool_call_id] if said is not None else []
    return bool(asked) and all(_issuer(value, call, evidence) is None for value in asked)


def _short(found: Found) -> str:
    """What to show of an anchor whose value is all fingerprints: the call that left it."""
    return str(found.anchor.call_id)


def _tool_call_id(found: Found) -> str:
    return Mark.read(found.anchor).key.partition("/")[2]


def _explicit(kind: LinkKind, client_id: ClientId, anchor: Anchor | None = None) -> Link:
    to_call, to_step = (anchor.call_id, anchor.step_index) if anchor else (None, None)
    return Link(kind, client_id.value, Confidence.CERTAIN, to_call, to_step)
