"""Captured text is only ever text where pages change by themselves. Stored runs are in test_hostile_traffic."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from tests.console_runs import (
    LoadedRun,
    MemoryReading,
    RunRow,
    call_id,
    make_call,
    make_run,
    make_step,
    model_step,
    totals,
)
from tests.e2e.browser.conftest import Watched
from tests.e2e.browser.payloads import PAYLOADS
from watchllm_proxy.records import (
    CallError,
    Confidence,
    Explanation,
    Flag,
    FlagKind,
    Link,
    LinkKind,
    RunStatus,
    Step,
    StepType,
)
from watchllm_proxy.store.shapes import CallDetail

pytestmark = pytest.mark.browser

ALL = "\n".join(PAYLOADS)
Open = Callable[..., Awaitable[Watched]]


def _steps() -> list[Step]:
    """For each payload a model step, a tool step and an error that carry it wherever text can be."""
    steps: list[Step] = [make_step(0, StepType.USER_INPUT, 0, summary=ALL)]
    for n, text in enumerate(PAYLOADS):
        at = 3 * n + 1
        args = json.dumps({text: [text, {"inner": json.dumps({text: text})}]})
        words = {"summary": text, "decision": text, "model": text}
        tool = {"tool": text, "tool_args": args, "tool_output_summary": text, "tool_call_id": text}
        error = {"error_type": text, "error_message": text, "http_status": 400, "model": None}
        steps += [
            model_step(at, StepType.DECISION, at, 0.5, at, **words),
            make_step(at + 1, StepType.TOOL_CALL, at + 0.5, 0.4, call_id=call_id(at), summary=text, **tool),
            model_step(at + 2, StepType.ERROR, at + 1, 0.5, at + 2, **error),
        ]
    return steps


def _call(n: int, text: str) -> CallDetail:
    body = {"model": text, "messages": [{"role": text, "content": text, text: text}], "tools": [{text: text}]}
    answer = {
        "role": "assistant",
        "content": text,
        "tool_calls": [{"function": {"name": text, "arguments": text}}],
    }
    return make_call(
        n, target=text, request_model=text, response_model=text, error=CallError(text, text, text),
        request=json.dumps(body).encode(), answer=json.dumps(answer).encode(), opaque_reason=text,
        response_metadata=json.dumps({text: text}).encode(), finish_reasons=(text,), user_agent=text,
        provider_name=text,
    )  # fmt: skip


def _hostile_run(run_id: str) -> LoadedRun:
    steps = _steps()
    every = [step.step_index for step in steps]
    run = make_run(run_id, title=ALL, agent_name=ALL, agent_version=ALL, session_id=ALL, user_id=ALL, parent_run_id=PAYLOADS[0], status=RunStatus.FAILED, tags=((ALL, ALL),))  # fmt: skip  # noqa: E501
    flags = tuple(Flag(FlagKind.LOOP_DETECTED, text, (i,)) for i, text in enumerate(PAYLOADS))
    explanations = [Explanation(i, PAYLOADS[i % 60], 0.5, "deterministic", (PAYLOADS[i % 60],)) for i in every]
    links = {s.call_id: (Link(LinkKind.ISSUED_ID, ALL, Confidence.CERTAIN, None, 1),) for s in steps if s.call_id}
    return LoadedRun(totals(run, steps), flags, steps, explanations, links)


@pytest.fixture
def reading() -> MemoryReading:
    run_id = "<img src=x onerror=window.pwned=1>/\"'?#%"
    hostile = _hostile_run(run_id)
    child = make_run("child", parent_run_id=run_id, agent_name=PAYLOADS[11], title=PAYLOADS[0])
    listed = [
        LoadedRun(
            make_run(text[:200] or "x", title=text, agent_name=text, agent_version=text), (), hostile.steps[:4]
        )
        for text in PAYLOADS
    ]
    calls = [_call(3 * n + 1 + d, text) for n, text in enumerate(PAYLOADS) for d in (0, 2)]
    return MemoryReading([hostile, LoadedRun(child, (), ()), *listed], calls)


def test_there_are_sixty_different_payloads() -> None:
    assert len(set(PAYLOADS)) == 60


async def test_lists_and_welcome_show_hostile_text_as_text(watched: Open, reading: MemoryReading) -> None:
    seen = await watched(reading)
    for path in ("/runs?kind=all&limit=200", "/runs?q=%3Cscript%3Ewindow.pwned%3D1%3C%2Fscript%3E", "/runs/child"):
        await seen.go(path)
        assert await seen.page.locator("main :is(img, script, iframe, object, embed, style)").count() == 0
    await seen.assert_clean()


async def test_welcome_names_a_hostile_run_as_text(watched: Open, reading: MemoryReading) -> None:
    runs, reading.runs = reading.runs, []
    seen = await watched(reading)
    await seen.go("/welcome")
    newest = replace(runs[0].run, started_at_us=2**50)
    reading.runs = [LoadedRun(newest, (), runs[0].steps)]
    await seen.page.get_by_role("button", name="Stay here").click()
    assert "<script>window.pwned=1</script>" in await seen.page.locator("#waiting").inner_text()
    await seen.assert_clean()


async def test_the_policy_would_stop_a_script_that_slipped_through(watched: Open, reading: MemoryReading) -> None:
    """The watch itself can see: a sink is refused, and reported."""
    seen = await watched(MemoryReading())
    await seen.go("/welcome")
    refused = await seen.page.evaluate(
        "(() => { try { document.body.innerHTML = '<b>x</b>' } catch (e) { return e.name } })()"
    )
    assert refused == "TypeError"
    await seen.page.wait_for_function("() => window.violations.length === 1")


def test_the_fixture_reaches_every_field(reading: MemoryReading) -> None:
    assert RunRow(reading.runs[0].run, reading.runs[0].flags).flags
    assert reading.calls[0].request
