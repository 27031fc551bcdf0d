"""A tool's result in a request, in the three dialects that bring one."""

from __future__ import annotations

import json

import pytest

from watchllm_proxy.console.pages.results import result_in

PARTS = [{"type": "text", "text": "12 °C"}]
PARTS_JSON = '[{"type": "text", "text": "12 °C"}]'

TOLD = {"type": "tool_result", "tool_use_id": "c1", "content": "12 °C"}


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ({"messages": [{"role": "tool", "tool_call_id": "c1", "content": "12 °C"}]}, "12 °C"),
        ({"messages": [{"role": "tool", "tool_call_id": "c1", "content": PARTS}]}, PARTS_JSON),
        ({"input": [{"type": "function_call_output", "call_id": "c1", "output": "12 °C"}]}, "12 °C"),
        ({"messages": [{"role": "user", "content": [TOLD]}]}, "12 °C"),
        ({"messages": [{"role": "tool", "tool_call_id": "c2", "content": "12 °C"}]}, None),
        ({"messages": [{"role": "user", "content": ["c1", 7]}, "c1"], "input": "c1"}, None),
        ([], None),
    ],
)  # fmt: skip
def test_a_result_is_found_by_the_id_of_its_call(body: object, result: str | None) -> None:
    assert result_in(json.dumps(body).encode(), "c1") == result


def test_a_body_that_is_gone_has_no_result() -> None:
    assert result_in(None, "c1") is None
