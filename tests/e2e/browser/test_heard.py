"""What a screen reader is told on the way from the list to the cause: Chromium's tree of roles, names and states.

Nothing is heard here; what a reader would be given to say is read, in the order in which it would.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import Page

from tests.console_runs import MemoryReading, long_run, make_call, refund_run
from tests.e2e.browser.conftest import Watched
from tests.e2e.browser.test_dashboard import Open, _selected
from watchllm_proxy.console.loading import LoadedRun

pytestmark = pytest.mark.browser

SILENT = {"none", "generic", "InlineTextBox", "StaticText", "LineBreak", "ListMarker"}


@dataclass(frozen=True)
class Node:
    """Something that is told: `states` are those of the tree, `row` what a grid's focus is on."""

    role: str
    name: str
    states: dict[str, Any]
    row: str | None = None

    def __str__(self) -> str:
        return f"{self.role} {self.name}".strip()


@pytest.fixture
def reading() -> MemoryReading:
    """A run with a sub-agent whose third request differs from the second by a word, and a long one."""
    refund = refund_run()
    child = LoadedRun(refund.children[0].run, (), refund.steps[:3])
    asked = [{"role": "system", "content": "Be kind. It is 12:13Z."}, {"role": "user", "content": "Refund me."}]
    later = [{**asked[0], "content": "Be kind. It is 12:27Z."}, asked[1]]
    bodies = [json.dumps({"model": "m", "messages": each}).encode() for each in (asked, asked, later)]
    calls = [make_call(n, request=body) for n, body in enumerate(bodies, start=1)]
    return MemoryReading([refund, child, long_run(2000)], [*calls, *(make_call(n) for n in range(4, 7))])


async def _told(page: Page) -> list[Node]:
    """Of the whole page, in reading order."""
    session = await page.context.new_cdp_session(page)
    found = (await session.send("Accessibility.getFullAXTree"))["nodes"]
    await session.detach()
    by_id = {node["nodeId"]: node for node in found}
    at = {node.get("backendDOMNodeId"): node for node in found}
    told: list[Node] = []
    waiting = [found[0]]
    while waiting:
        node = waiting.pop()
        role = node.get("role", {}).get("value", "none")
        states = {each["name"]: each["value"] for each in node.get("properties", ())}
        if not node.get("ignored") and role not in SILENT:
            active = states.pop("activedescendant", {}).get("relatedNodes") or [{}]
            row = at.get(active[0].get("backendDOMNodeId"), {}).get("name", {}).get("value")
            values = {name: value.get("value") for name, value in states.items()}
            told.append(Node(role, node.get("name", {}).get("value", ""), values, row))
        waiting += [by_id[child] for child in reversed(node.get("childIds", ())) if child in by_id]
    return told


def _only(told: list[Node], role: str, beginning: str = "") -> Node:
    (found,) = [node for node in told if node.role == role and node.name.startswith(beginning)]
    return found


def _named(told: list[Node], role: str) -> list[str]:
    return [node.name for node in told if node.role == role]


def _focused(told: list[Node]) -> Node:
    return next(node for node in told if node.states.get("focused") and node.role != "RootWebArea")


async def _on_the_run(watched: Open, reading: MemoryReading) -> Watched:
    """Through the list by keys."""
    seen = await watched(reading, permissions=["clipboard-read", "clipboard-write"])
    await seen.go("/runs")
    await seen.page.locator("tr[data-run='run_7q2k9fh4'] a.ag").focus()
    await seen.page.keyboard.press("Enter")
    await seen.page.wait_for_function("() => document.documentElement.dataset.ready === 'true'")
    await _selected(seen, 4)
    return seen


async def test_the_list_tells_how_each_run_ended_under_names_of_columns(
    watched: Open, reading: MemoryReading
) -> None:
    seen = await watched(reading)
    await seen.go("/runs")
    told = await _told(seen.page)
    assert [str(node) for node in told if node.role in {"banner", "navigation", "main", "search"}] == [
        "banner", "navigation Main", "main", "search", "navigation Pages",
    ]  # fmt: skip
    assert _only(told, "table").name == "Runs"
    columns = ["Status", "Agent and first message", "Anomalies", "Steps", "Tokens", "Took", "Cost", "When"]
    assert _named(told, "columnheader") == columns
    cells = _named(told, "cell")
    failed = next(at for at, name in enumerate(cells) if name.startswith("support-refund-agent"))
    assert (cells[failed - 1], cells[failed + 1]) == ("Failed", "loop fallback")
    live = [node.states["live"] for node in told if node.role == "status"]
    assert live == ["polite", "polite"], "what is new, and what was done"
    assert all(node.name for node in told if node.role in {"link", "button", "combobox", "searchbox"})


async def test_a_run_is_told_as_headings_landmarks_and_a_grid_whose_row_says_that_it_failed(
    watched: Open, reading: MemoryReading
) -> None:
    seen = await _on_the_run(watched, reading)
    told = await _told(seen.page)
    landmarks = {"banner", "navigation", "main", "region", "search", "complementary", "grid"}
    assert [str(node) for node in told if node.role in landmarks] == [
        "banner", "navigation Main", "main", "region Run summary", "region What went wrong",
        "region Overview of the whole run", "region Steps and the one that is chosen", "search", "grid Steps",
        "complementary Step detail",
    ]  # fmt: skip
    headings = [(node.states["level"], node.name) for node in told if node.role == "heading"]
    assert [level for level, _ in headings] == [1, 2, 2, 3, 3]
    assert headings[0][1].startswith("Failed Order A-10432")
    assert headings[1][1] == "What went wrong"
    assert headings[2][1].startswith("#4 tool, failed create_refund")
    assert [name for _, name in headings[3:]] == ["arguments", "output · error"], "and no names of buttons"
    grid = _focused(told)
    assert str(grid) == "grid Steps"
    assert grid.row is not None
    assert grid.row.startswith("4 tool, failed create_refund")
    assert "loop" in grid.row
    rows = [node for node in told if node.role == "row"]
    assert rows[0].name == "# Step Took Tokens Cost"
    assert [int(row.name.split()[0]) for row in rows[1:]] == list(range(12)), "in the order of the page"
    assert [row.name for row in rows if row.states.get("selected")] == [grid.row]
    assert _only(told, "link", "policy-researcher").states["focusable"]
    nameless = {node.role for node in told if not node.name}
    assert not nameless & {"link", "button", "tab", "searchbox", "image", "tabpanel", "tablist", "columnheader"}
    await seen.assert_clean()


async def test_keys_lead_to_why_and_to_what_differs_and_each_place_says_where_it_is(
    watched: Open, reading: MemoryReading
) -> None:
    seen = await _on_the_run(watched, reading)
    press = seen.page.keyboard.press
    await press("h")  # who asked for the failed call
    await _selected(seen, 3)
    await press("d")
    await seen.page.get_by_text("2 messages unchanged").wait_for()
    await press("J")
    await _selected(seen, 5)
    await seen.page.locator("#detail del").wait_for()
    told = await _told(seen.page)
    assert [node.name for node in told if node.role == "tab" and node.states.get("selected")] == ["Diff"]
    assert _only(told, "tabpanel").name == "Diff"
    assert len(_named(told, "deletion")) == len(_named(told, "insertion")) == 1
    assert (_focused(told).row or "").startswith("5 model gpt-4.1-mini"), "the focus stays in the list"
    await press("y")
    await seen.page.get_by_text("Link copied").wait_for()
    live = [node for node in await _told(seen.page) if node.states.get("live") == "polite"]
    assert len(live) == 3, "what is found, where one is, and what was done"
    await seen.assert_clean()


async def test_tab_goes_through_the_page_in_the_order_in_which_it_is_read(
    watched: Open, reading: MemoryReading
) -> None:
    seen = await _on_the_run(watched, reading)
    visited: list[str] = []
    for _ in range(90):  # round once, from wherever it begins
        await seen.page.keyboard.press("Tab")
        visited.append(
            await seen.page.evaluate(
                "() => document.activeElement.ariaLabel || document.activeElement.textContent.trim()"
            )
        )
    visited = visited[visited.index("Skip to content") :]
    wanted = [
        "Skip to content", "Runs", "Switch light or dark", "session", "Export", "4", "policy-researcher",
        "Search in this run", "Zoom", "Steps", "Tool", "Copy the step as JSON", "Copy arguments", "#3",
    ]  # fmt: skip
    order = iter(visited)
    assert [name for name in wanted if name in order] == wanted, visited


async def test_rows_are_told_in_order_wherever_the_list_was_moved_to(
    watched: Open, reading: MemoryReading
) -> None:
    seen = await watched(reading)
    await seen.go("/runs/run_big2000#step-0")
    for key in ("G", "PageUp", "PageUp", "k", "Home", "PageDown", "PageDown", "j", "e"):
        await seen.page.keyboard.press(key)
        await seen.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        places = await seen.page.evaluate(
            "() => [...document.querySelectorAll('#pad .row')].map((row) => Number(row.ariaRowIndex))"
        )
        assert len(places) > 20
        assert places == list(range(places[0], places[0] + len(places))), key
    await seen.assert_clean()
