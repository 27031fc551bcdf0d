"""Did a tool fail? The dialect says so (Messages: `is_error`), or its output looks like it.

    output                                          failed
    dialect says is_error                           as it says
    JSON object, truthy top-level "error"           yes
    JSON object, "status" is error or failed        yes
    text starts with Error, Exception, Traceback…   yes
    anything else                                   no

A tool that returns prose about an error ("No errors found") is not one. Wrong guesses cost a red mark in
a list, so the table stays small.
"""

from __future__ import annotations

import json
import re

from watchllm_proxy.records import ToolResult

MAX_JSON_CHARS = 1_000_000
"""Longer outputs are judged by their beginning only."""

_HEAD_CHARS = 200
_STATUS_WORDS = frozenset({"error", "failed", "failure"})
_WORDS = ("Error", "Exception", "Traceback")
"""One of them stands in all that `_STARTS` finds: most outputs hold none."""

_STARTS = re.compile(
    r"\s*(?:Traceback \(most recent call last\)|(?:\w+\.)*\w*(?:Error|Exception)\b\s*[:(]|(?:Error|Exception)\b)"
)


def is_tool_error(result: ToolResult) -> bool:
    if result.is_error is not None:
        return result.is_error
    head = result.text[:_HEAD_CHARS]
    if any(word in head for word in _WORDS) and _STARTS.match(head):
        return True
    return _is_error_object(result.text)


def _is_error_object(text: str) -> bool:
    if len(text) > MAX_JSON_CHARS or not text.lstrip().startswith("{"):
        return False
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict):
        return False
    status = value.get("status")
    return bool(value.get("error")) or (isinstance(status, str) and status.lower() in _STATUS_WORDS)
