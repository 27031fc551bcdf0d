"""Run ids in addresses. An id holds any printable characters, so it may look like a path, a query or a suffix.

Percent-encoding carries most of them. Two kinds it cannot carry: browsers take `.` and `..` as steps up the
path even when encoded, and an id that ends in `.json` (or in another form that a run is served in) would name
another page. Those get a trailing DEL (%7F): it is not printable, so no id holds it, and reading an id drops it.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

MARK = "\x7f"
JSON_SUFFIX = ".json"
SUFFIXES = (JSON_SUFFIX, ".ndjson", ".md")
"""What may follow a run's id in an address."""


def encode_id(run_id: str) -> str:
    """`run_id` as one path segment that reads back as itself."""
    needs_mark = run_id in {".", ".."} or run_id.endswith(SUFFIXES)
    return quote(run_id + MARK if needs_mark else run_id, safe="", errors="replace")


def decode_id(segment: str) -> str:
    """The id that `encode_id` put into a path segment (already percent-decoded)."""
    return segment.removesuffix(MARK)


def run_path(run_id: str) -> str:
    return f"/runs/{encode_id(run_id)}"


def lane_path(run_id: str, agent: str) -> str:
    """A run's page with the steps of one sub-agent alone; `agent` is the id of its run, or its name."""
    return f"{run_path(run_id)}?{urlencode({'agent': agent}, errors='replace')}"


def run_json_path(run_id: str) -> str:
    return f"{run_path(run_id)}{JSON_SUFFIX}"


def debug_path(run_id: str) -> str:
    return f"/api/agent-runs/{encode_id(run_id)}/debug"


def summary_path(run_id: str) -> str:
    return f"/api/agent-runs/{encode_id(run_id)}"


def events_path(run_id: str) -> str:
    return f"/api/agent-runs/{encode_id(run_id)}/events"


def search_path(run_id: str) -> str:
    return f"/api/agent-runs/{encode_id(run_id)}/search"


def runs_path(filters: Mapping[str, str], suffix: str = "") -> str:
    """The list of runs under some filters, or a twin of it."""
    return f"/runs{suffix}?{urlencode(filters, errors='replace')}" if filters else f"/runs{suffix}"


def session_path(session_id: str) -> str:
    """A conversation, with its runs."""
    return f"/sessions/{encode_id(session_id)}"


def agent_path(agent_name: str) -> str:
    """All runs of one agent."""
    return runs_path({"agent": agent_name})
