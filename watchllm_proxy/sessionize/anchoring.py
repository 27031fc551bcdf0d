"""What a placed call leaves behind for later ones to hang on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from watchllm_proxy.records import Anchor, Call, ClientIdKind, LinkKind
from watchllm_proxy.sessionize import marks, recognition, rules, steps, turns
from watchllm_proxy.sessionize.anchors import AnchorKind, agent_key, failure_value
from watchllm_proxy.sessionize.placing import Place
from watchllm_proxy.sessionize.run_state import RunState

_MARKS: dict[AnchorKind, Callable[[Call], str | None]] = {
    AnchorKind.STATE: marks.state_mark,
    AnchorKind.SAID: marks.said_mark,
    AnchorKind.ASKED: marks.asked_mark,
    AnchorKind.OBSERVED: marks.observed_mark,
}

FindIssuer = Callable[[Call, str], Anchor | None]
"""Who issued this id before, if anyone of the call's project did."""


def anchors_of(
    call: Call,
    run: RunState,
    where: Place,
    *,
    model_index: int,
    find_issuer: FindIssuer,
) -> Iterator[Anchor]:
    for kind, value, step_index in _marks(call, run, where, model_index=model_index, find_issuer=find_issuer):
        yield Anchor(
            project_id=call.project_id,
            kind=kind,
            value=value,
            run_id=run.run_id,
            call_id=call.call_id,
            step_index=step_index,
            at_us=call.ended_at_us,
            session_id=run.session_id,
        )


def _marks(
    call: Call,
    run: RunState,
    where: Place,
    *,
    model_index: int,
    find_issuer: FindIssuer,
) -> Iterator[tuple[AnchorKind, str, int | None]]:
    for value in dict.fromkeys(call.issued_ids):
        yield _issued_kind(call, value, run, find_issuer), value, run.tool_step_index(value) or model_index
    if where.is_explicit:
        yield AnchorKind.RUN, run.run_id, model_index
    if (context := _agent_context(call, run)) is not None:
        yield AnchorKind.AGENT, context, model_index
    for client_id in call.client_ids:
        if client_id.kind is ClientIdKind.CONVERSATION:
            yield AnchorKind.CONVERSATION, client_id.value, model_index
        elif client_id.kind is ClientIdKind.TRACE and client_id.value not in where.foreign_traces:
            yield AnchorKind.TRACE, client_id.value, model_index
    if where.retries is not None:
        yield AnchorKind.FAILED_REQUEST, where.retries.value, None
    if call.is_failed and rules.may_be_retried(call):
        yield AnchorKind.FAILED_REQUEST, failure_value(call), model_index
    if where.helps is not None:
        yield AnchorKind.HELPER, f"{call.call_id} {recognition.kind_of(call)}", where.helps.step_index
    if turns.has_past(call) and any(link.kind is LinkKind.NEW_RUN for link in where.links):
        for value in marks.awaited(call):
            yield AnchorKind.AWAITED, value, model_index
    yield from _texts(call, model_index)


def _texts(call: Call, model_index: int) -> Iterator[tuple[AnchorKind, str, int]]:
    """None of a call whose client asked that no text is kept: fingerprints are made of it."""
    if call.is_content_refused:
        return
    for kind, make_mark in _MARKS.items():
        if (mark := make_mark(call)) is not None:
            yield kind, mark, model_index
    for offset, tool in enumerate(steps.asked_tools(call), start=1):
        if (mark := marks.task_mark(call, tool)) is not None:
            yield AnchorKind.TASK, mark, model_index + offset


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
