"""Steps of the runs that were looked at last."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.console_runs import MemoryReading, long_run, refund_run
from watchllm_proxy.console import loading
from watchllm_proxy.console.desk import NobodysDesk
from watchllm_proxy.console.loading import LineMemory, load_lines, load_page
from watchllm_proxy.console.reading import RedactedCalls
from watchllm_proxy.errors import StoreUnavailable
from watchllm_proxy.records import Run, Step
from watchllm_proxy.store.shapes import RunRow


class _Versioned(MemoryReading):
    """Tells versions, and counts how often steps are read."""

    version: str | None = "1"
    reads = 0
    asked = 0  # what was redacted
    is_away = False  # the store of calls

    async def get_run(self, project_id: str, run_id: str) -> RunRow | None:
        row = await super().get_run(project_id, run_id)
        return row and RunRow(row.run, row.flags, self.version)

    async def get_step_lines(self, project_id: str, run_id: str) -> list[Step]:
        self.reads += 1
        return list(await super().get_step_lines(project_id, run_id))

    async def get_redacted(self, project_id: str, run: Run) -> RedactedCalls:
        self.asked += 1
        if self.is_away:
            raise StoreUnavailable("ClickHouse does not answer")
        return {}


async def test_steps_are_read_again_only_when_they_were_stored_anew() -> None:
    run = refund_run()
    reading, memory = _Versioned([run]), LineMemory()
    for version, reads in (("1", 1), ("1", 1), ("2", 2), (None, 3), (None, 4)):
        reading.version = version
        found = await load_lines(reading, memory, reading.project_id, run.run.run_id)
        assert found is not None
        assert [step.step_index for step in found.steps] == [step.step_index for step in run.steps]
        assert reading.reads == reads


async def test_what_was_redacted_is_asked_again_after_a_while_or_when_the_store_was_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Calls may be erased while their run stays as it is."""
    run = refund_run()
    reading, memory = _Versioned([run]), LineMemory()
    now_s = 1000.0
    monkeypatch.setattr(loading, "time", SimpleNamespace(monotonic=lambda: now_s))
    for version, waited_s, is_away, asked in (
        ("1", 0, True, 1),
        ("1", 0, False, 2),
        ("1", 29, True, 2),
        ("1", 2, False, 3),
        ("2", 0, False, 4),
        (None, 0, False, 5),
        (None, 0, False, 6),
    ):
        now_s += waited_s
        reading.version, reading.is_away = version, is_away
        page = await load_page(reading, NobodysDesk(), memory, reading.project_id, run.run.run_id)
        assert page is not None
        assert (page.redacted is None) == (is_away and asked == 1)
        assert reading.asked == asked


async def test_what_is_remembered_of_one_project_is_nothing_to_another() -> None:
    run = refund_run()
    reading, memory = _Versioned([run]), LineMemory()
    await load_lines(reading, memory, reading.project_id, run.run.run_id)
    assert await load_lines(reading, memory, "another", run.run.run_id) is None


def test_the_steps_that_nobody_looked_at_for_longest_make_room() -> None:
    ten, five = long_run(10).steps, long_run(5).steps
    memory = LineMemory(kept_lines=20)
    memory.put("a", ten)
    memory.put("b", five)
    assert memory.get("a") is ten
    memory.put("c", ten)
    assert (memory.get("a"), memory.get("b"), memory.get("c")) == (ten, None, ten)
    memory.put("too many", long_run(21).steps)
    assert [memory.get(each) for each in ("a", "c", "too many")] == [None, None, None]
    memory.put("a", ten)
    memory.put("a", five)
    memory.put("b", ten)
    assert memory.get("a") is five
