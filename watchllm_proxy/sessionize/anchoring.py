"""What a placed call leaves behind for later ones to hang on."""

from __future__ import annotations

from collections.abc import Callable

from watchllm_proxy.records import Anchor, Call, ClientIdKind, LinkKind
from watchllm_proxy.sessionize import histories, marks, recognition, rules, steps, turns
from watchllm_proxy.sessionize.anchors import AnchorKind, agent_key, failure_value
from watchllm_proxy.sessionize.placing import Place
from watchllm_proxy.sessionize.run_state import RunState

_MARKS: tuple[tuple[AnchorKind, Callable[[Call], marks.Left | None]], ...] = (
    (AnchorKind.STATE, histories.state_mark),
    (AnchorKind.SAID, marks.said_mark),
    (AnchorKind.ASKED, marks.asked_mark),
    (AnchorKind.OBSERVED, marks.observed_mark),
)

_Mark = tuple[AnchorKind, str, set[int] | None, int | None]
"""Kind and value of an anchor, its fingerprints, and the step that it is of."""

FindIssuer = Callable[[Call, str], Anchor | None]
"""Who issued this id before, if anyone of the call's project did."""


def anchors_of(
    call: Call,
    run: RunState,
    where: Place,
    *,
    model_index: int,
    find_issuer: FindIssuer,
    first_seq: int,
) -> list[tuple[Anchor, set[int] | None]]:
    """Numbered from `first_seq` on, each with the fingerprints that it is to be found by."""
    project_id, run_id, call_id = call.project_id, run.run_id, call.call_id
    at_us, session_id = call.ended_at_us, run.session_id
    left = _ids(call, run, where, model_index=model_index, find_issuer=find_issuer) + _texts(call, model_index)
    return [
        (Anchor(project_id, kind, value, run_id, call_id, step_index, at_us, session_id, seq), tokens)
        for seq, (kind, value, tokens, step_index) in enumerate(left, first_seq)
    ]


def _ids(call: Call, run: RunState, where: Place, *, model_index: int, find_issuer: FindIssuer) -> list[_Mark]:
    found: list[_Mark] = [
        (_issued_kind(call, value, run, find_issuer), value, None, run.tool_step_index(value) or model_index)
        for value in dict.fromkeys(call.issued_ids)
    ]
    if where.is_explicit:
        found.append((AnchorKind.RUN, run.run_id, None, model_index))
    if (context := _agent_context(call, run)) is not None:
        found.append((AnchorKind.AGENT, context, None, model_index))
    for client_id in call.client_ids:
        if client_id.kind is ClientIdKind.CONVERSATION:
            found.append((AnchorKind.CONVERSATION, client_id.value, None, model_index))
        elif client_id.kind is ClientIdKind.TRACE and client_id.value not in where.foreign_traces:
            found.append((AnchorKind.TRACE, client_id.value, None, model_index))
    if where.retries is not None:
        found.append((AnchorKind.FAILED_REQUEST, where.retries.value, None, None))
    if call.is_failed and rules.may_be_retried(call):
        found.append((AnchorKind.FAILED_REQUEST, failure_value(call), None, model_index))
    if where.helps is not None:
        value = f"{call.call_id} {recognition.kind_of(call)}"
        found.append((AnchorKind.HELPER, value, None, where.helps.step_index))
    if turns.has_past(call) and any(link.kind is LinkKind.NEW_RUN for link in where.links):
        found += [(AnchorKind.AWAITED, value, None, model_index) for value in histories.awaited(call)]
    return found


def _texts(call: Call, model_index: int) -> list[_Mark]:
    """None of a call whose client asked that no text is kept: fingerprints are made of it."""
    if call.is_content_refused:
        return []
    found: list[_Mark] = [
        (kind, *left, model_index) for kind, make_mark in _MARKS if (left := make_mark(call)) is not None
    ]
    for offset, tool in enumerate(steps.asked_tools(call), start=1):
        if (left := marks.task_mark(call, tool)) is not None:
            found.append((AnchorKind.TASK, *left, model_index + offset))
    return found


def _issued_kind(call: Call, value: str, run: RunState, find_issuer: FindIssuer) -> AnchorKind:
    """Some upstreams count their ids ("call_0"): one that came up in two sessions is no proof any more."""
    before = find_issuer(call, value)
    if before is None:
        return AnchorKind.ISSUED_ID
    is_repeat = before.kind == AnchorKind.REISSUED_ID or before.session_id != run.session_id
    return AnchorKind.REISSUED_ID if is_repeat else AnchorKind.ISSUED_ID


def _agent_context(call: Call, run: RunState) -> str | None:
    """A session's side calls (titles, summaries) have no tools: they do not stand for its main agent."""
    agent, session = rules.agent_of(call), rules.session_of(call)
    if agent is not None:
        return agent_key(session, agent.value)
    return agent_key(session, rules.MAIN_AGENT) if session and run.is_agent else None
