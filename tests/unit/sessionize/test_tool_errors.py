"""What counts as a failed tool."""

from __future__ import annotations

import pytest

from watchllm_proxy.records import ToolResult
from watchllm_proxy.sessionize.tool_errors import is_tool_error


@pytest.mark.parametrize(
    "text",
    [
        '{"error": "no such order"}',
        ' {"error": {"code": 404}}',
        '{"status": "error", "detail": "x"}',
        '{"status": "FAILED"}',
        "Error: connection refused",
        "Error executing tool lookup",
        "Exception: boom",
        "ValueError: not a number",
        "httpx.ConnectError: refused",
        "Traceback (most recent call last):\n  File",
    ],
)
def test_outputs_that_look_like_failures(text: str) -> None:
    assert is_tool_error(ToolResult("id", text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No errors found",
        '{"error": null, "orders": []}',
        '{"error": false}',
        '{"status": "ok"}',
        '{"errors_per_day": 3}',
        '["Error"]',
        "Errors are rare here",
        '{"nested": {"error": "x"}}',
        '{"error": "cut off',
        "[" * 100_000,
        "{" * 100_000,
    ],
)
def test_outputs_that_do_not(text: str) -> None:
    assert not is_tool_error(ToolResult("id", text))


def test_the_dialects_word_counts_more_than_the_looks() -> None:
    assert is_tool_error(ToolResult("id", "fine", is_error=True))
    assert not is_tool_error(ToolResult("id", "Error: expected by the test", is_error=False))
