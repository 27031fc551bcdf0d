from __future__ import annotations

import re
from dataclasses import replace

from tests.console_runs import long_run, make_run, refund_run
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.console.pages.overview import WIDTH, overview_of
from watchllm_proxy.console.pages.timeline import timeline_of


def _overview(loaded: LoadedRun):
    return overview_of(loaded, timeline_of(loaded))


def test_a_sub_agent_has_a_lane_that_leads_to_its_steps() -> None:
    lanes = _overview(refund_run()).lanes
    assert [(lane.name, lane.path) for lane in lanes] == [
        ("support-refund-agent", "/runs/run_7q2k9fh4"),
        ("policy-researcher", "/runs/run_7q2k9fh4?agent=run_child"),
    ]


def test_a_sub_agent_stands_as_deep_as_it_was_started() -> None:
    loaded = refund_run()
    (child,) = loaded.children
    below = replace(child, run=replace(child.run, run_id="below", parent_run_id=child.run.run_id))
    beside = replace(child, run=replace(child.run, run_id="beside"))
    lanes = _overview(replace(loaded, children=[child, below, beside])).lanes
    assert [lane.depth for lane in lanes] == [0, 1, 2, 1]


def test_two_thousand_steps_are_a_few_paths_within_the_box() -> None:
    overview = _overview(long_run(2000))
    assert len(overview.bars) <= 5
    assert sum(map(len, overview.bars.values())) < 6_000
    for path in overview.bars.values():
        for x, width in re.findall(r"M(\d+) \d+h(\d+)", path):
            assert int(x) + int(width) <= WIDTH


def test_errors_and_anomalies_are_marked_apart() -> None:
    marks = _overview(refund_run()).marks
    assert marks["failed"]
    assert marks["flagged"]


def test_the_cost_line_rises_to_the_whole_and_is_absent_without_prices() -> None:
    points = re.findall(r"[ML](\d+) (\d+)", _overview(refund_run()).cost_line)
    heights = [int(y) for _, y in points]
    assert heights == sorted(heights, reverse=True)
    unpriced = replace(refund_run(), steps=[replace(step, cost_usd=None) for step in refund_run().steps])
    assert _overview(unpriced).cost_line == ""


def test_folded_it_shows_the_same_steps_in_less_time() -> None:
    loaded = long_run(2000)
    timeline = timeline_of(loaded)
    whole, folded = overview_of(loaded, timeline), overview_of(loaded, timeline, timeline.folding)
    assert folded.cuts
    assert whole.cuts == ()
    assert {"model", "failed"} <= folded.bars.keys() & whole.bars.keys()
    assert (folded.axis[0], folded.axis[-1][2]) == (whole.axis[0], whole.axis[-1][2])  # told in the run's own time


def test_a_run_without_steps_has_an_empty_lane() -> None:
    overview = _overview(LoadedRun(make_run(), (), []))
    assert overview.bars == {}
    assert len(overview.lanes) == 1


def test_a_child_outside_the_parents_time_stays_in_the_picture() -> None:
    loaded = refund_run()
    late = replace(loaded.children[0].run, started_at_us=2**60, ended_at_us=2**60 + 1)
    overview = _overview(replace(loaded, children=[replace(loaded.children[0], run=late)]))
    (x,) = re.findall(r"M(\d+)", overview.bars["agent"])
    assert int(x) <= WIDTH
