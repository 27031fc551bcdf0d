"""The tree that `watchllm demo` and `watchllm show` print."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from watchllm_proxy.commands.tree import render_tree


def _step(index: int, type: str, second: int, **fields: Any) -> dict[str, Any]:
    return {"step_index": index, "type": type, "timestamp": f"2026-01-15T10:00:{second:02}.000000Z", **fields}


CHILD = {
    "run_id": "child",
    "agent_name": "researcher",
    "title": "Find two events",
    "status": "completed",
    "started_at": "2026-01-15T10:00:02.500000Z",
    "duration_ms": 1500,
    "total_cost_usd": 0.0002,
}
CHILD_DEBUG = {
    "debug": {
        "summary": {"run_id": "child"},
        "steps": [_step(0, "user_input", 2, summary="Find two events")],
        "children": [],
    }
}
DEBUG: dict[str, Any] = {
    "debug": {
        "summary": {
            "run_id": "trip-1",
            "agent_name": "trip-planner",
            "title": "Plan a weekend",
            "status": "failed",
            "duration_ms": 3520,
            "total_steps": 5,
            "cost": {"total_cost_usd": Decimal("0.0142")},
            "flags": [{"kind": "loop_detected", "message": "The same call failed twice.", "step_indexes": [2]}],
        },
        "steps": [
            _step(0, "user_input", 0, summary="Plan a weekend"),
            _step(
                1, "decision", 0, model="openai/gpt-4.1", decision="research", summary="research", duration_ms=312,
                input_tokens=1804, output_tokens=30, token_cost=1834, api_cost_usd=Decimal("0.0082"),
            ),
            _step(
                2, "tool_call", 2, tool="research", tool_args={"task": "Find"}, tool_output_summary="two events",
                duration_ms=1800, is_duration_inferred=True, token_cost=0, api_cost_usd=0,
                flags=["loop_detected"],
            ),
            _step(3, "error", 5, model="gpt-4.1", summary="server error", error_type="server_error"),
            _step(4, "model_response", 6, summary="Done.\x1b[31m", token_cost=10, api_cost_usd=None),
        ],
        "children": [CHILD],
    }
}  # fmt: skip


def _rendered(debug: dict[str, Any], *, width: int | None = None, **children: Any) -> str:
    out = io.StringIO()
    Console(
        file=out, force_terminal=width is not None, width=width or 80, soft_wrap=True, color_system=None
    ).print(render_tree(debug, children))
    return out.getvalue()


def _line(text: str, start: str) -> str:
    (line,) = [line for line in text.splitlines() if line.strip().startswith(start)]
    return line


def test_the_title_tells_status_agent_and_question() -> None:
    assert _rendered(DEBUG).splitlines()[0] == "✗ trip-planner  Failed  Plan a weekend"


def test_the_second_line_holds_the_figures_of_the_run() -> None:
    assert (
        _rendered(DEBUG).splitlines()[1].strip()
        == "3.52 s · $0.0142 · 1,804→30 tokens · 5 steps · 1 flag · trip-1"
    )


def test_a_model_step_shows_decision_time_tokens_and_cost() -> None:
    line = _line(_rendered(DEBUG), "1 ")
    assert "□" in line
    assert "gpt-4.1  → research" in line
    assert line.split()[-4:] == ["312", "ms", "1,804→30", "$0.0082"]


def test_an_inferred_time_is_marked_and_a_tool_costs_nothing() -> None:
    line = _line(_rendered(DEBUG), "2 ")
    assert 'research  {"task": "Find"} → two events' in line
    assert "≈1.80 s" in line
    assert "$" not in line


def test_flags_stand_at_their_step_and_in_words_below() -> None:
    text = _rendered(DEBUG)
    assert _line(text, "2 ").endswith("loop")
    assert text.splitlines()[-1].strip() == "! The same call failed twice."


def test_an_unknown_price_is_unpriced_and_never_zero() -> None:
    assert _line(_rendered(DEBUG), "4 ").endswith("unpriced")


def test_a_control_character_of_a_captured_text_does_not_reach_the_terminal() -> None:
    assert "\x1b[31m" not in _rendered(DEBUG)


def test_a_sub_agent_stands_after_the_call_that_started_it_with_its_steps_indented() -> None:
    lines = _rendered(DEBUG, child=CHILD_DEBUG).splitlines()
    place = next(i for i, line in enumerate(lines) if "⬡" in line)
    assert lines[place - 1].split()[0] == "2"
    assert "researcher  Find two events" in lines[place]
    assert lines[place].split()[-3:] == ["1.50", "s", "$0.0002"]
    assert lines[place + 1].split()[:3] == ["0", "│", "●"]
    assert lines[place + 2].split()[0] == "3"


def test_a_sub_agent_whose_steps_are_not_at_hand_is_one_line() -> None:
    assert sum("⬡" in line or "│" in line for line in _rendered(DEBUG).splitlines()) == 1


def test_a_pipe_gets_whole_lines_and_a_terminal_gets_lines_that_fit() -> None:
    long = "word " * 40
    summary = {"status": "completed", "title": long}
    steps = [_step(0, "tool_call", 0, tool="search", tool_args=long, tool_output_summary=long, duration_ms=5)]
    debug = {"summary": summary, "steps": steps, "children": []}

    assert all(len(line) > 120 for line in (_rendered(debug).splitlines()[0], _rendered(debug).splitlines()[2]))
    assert max(len(line) for line in _rendered(debug, width=70).splitlines()) <= 70


def test_a_run_without_steps_is_its_two_lines() -> None:
    assert len(_rendered({"summary": {"status": "running"}, "steps": [], "children": []}).splitlines()) == 2


def test_an_exact_number_in_arguments_is_a_number_again() -> None:
    step = _step(0, "tool_call", 0, tool="refund", tool_args={"amount": Decimal("84.5")})
    assert '{"amount": 84.5}' in _rendered({"summary": {}, "steps": [step], "children": []})


def test_steps_that_are_moments_have_no_duration() -> None:
    steps = [_step(0, "user_input", 0, summary="Hm?", duration_ms=0), _step(1, "retry", 0, duration_ms=0)]
    assert "0 ms" not in _rendered({"summary": {}, "steps": steps, "children": []})


@pytest.mark.parametrize("fields", [{"is_tool_error": True}, {"explain_rules_matched": ["tool_failed"]}])
def test_a_failed_tool_is_told_by_its_error_s_code_first(fields: dict[str, Any]) -> None:
    output = '{"error": {"type": "invalid_request", "code": "currency_mismatch", "message": "No."}}'
    step = _step(0, "tool_call", 0, tool="refund", tool_args={"a": 1}, tool_output_summary=output, **fields)
    out = io.StringIO()
    Console(file=out, force_terminal=True, width=80, color_system="standard").print(
        render_tree({"summary": {}, "steps": [step], "children": []})
    )
    assert "\x1b[31m" in out.getvalue()
    assert 'refund  currency_mismatch  {"a": 1}' in Text.from_ansi(out.getvalue()).plain


def test_several_flags_of_a_step_are_told_apart() -> None:
    step = _step(0, "tool_call", 0, tool="f", flags=["loop_detected", "error_fallback"])
    assert "loop, error fallback" in _rendered({"summary": {}, "steps": [step], "children": []})
