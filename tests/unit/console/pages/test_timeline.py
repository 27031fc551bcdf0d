from __future__ import annotations

import gzip
from dataclasses import replace
from itertools import accumulate
from typing import Any

from tests.console_runs import long_run, make_step, model_step, refund_run
from watchllm_proxy.console.answers import dumps
from watchllm_proxy.console.pages.folding import UNFOLDED
from watchllm_proxy.console.pages.overview import overview_of
from watchllm_proxy.console.pages.timeline import (
    PREVIEW_CHARACTERS,
    SHORT_PREVIEW_CHARACTERS,
    columns,
    timeline_of,
)
from watchllm_proxy.records import StepType


def test_each_step_is_a_row_that_tells_its_kind_by_shape() -> None:
    rows = timeline_of(refund_run()).rows
    assert [row.shape for row in rows[:3]] == ["user", "model", "tool"]
    assert [rows[9].shape, rows[10].shape, rows[11].shape] == ["error", "retry", "answer"]


def test_inferred_times_carry_a_sign() -> None:
    rows = timeline_of(refund_run()).rows
    assert rows[2].took == "≈241 ms"
    assert rows[1].took == "684 ms"


def test_an_unpriced_call_says_so_and_a_refused_one_says_nothing() -> None:
    loaded = refund_run()
    unpriced = replace(loaded, steps=[model_step(0, StepType.DECISION, 0, 1, 1, cost_usd=None)])
    assert timeline_of(unpriced).rows[0].cost == "unpriced"
    assert timeline_of(loaded).rows[9].cost == ""


def test_a_preview_is_one_short_line() -> None:
    loaded = replace(refund_run(), steps=[make_step(0, StepType.USER_INPUT, 0, summary="a\n\tb " + "x" * 9999)])
    preview = timeline_of(loaded).rows[0].preview
    assert preview.startswith("a b x")
    assert len(preview) <= PREVIEW_CHARACTERS


def test_steps_before_the_runs_start_begin_at_its_start() -> None:
    loaded = replace(refund_run(), steps=[make_step(0, StepType.USER_INPUT, -5)])
    assert timeline_of(loaded).rows[0].start_us == 0


def test_two_thousand_steps_travel_in_forty_kilobytes() -> None:
    assert len(gzip.compress(dumps(columns(timeline_of(long_run(2000)))))) < 40_000


def test_gaps_add_up_to_where_each_step_stands_to_the_millisecond() -> None:
    timeline = timeline_of(long_run(50))
    told: dict[str, Any] = columns(timeline)
    assert list(accumulate(told["index_gaps"])) == [row.index for row in timeline.rows]
    starts = list(accumulate(told["start_gaps_us"]))
    assert all(0 <= start - row.start_us < 1000 for start, row in zip(starts, timeline.rows, strict=True))


def test_a_run_of_many_steps_shows_the_beginning_of_each() -> None:
    long_text = replace(long_run(1).steps[0], type=StepType.USER_INPUT, summary="x" * 500)
    for count, length in ((100, PREVIEW_CHARACTERS), (1000, SHORT_PREVIEW_CHARACTERS)):
        run = long_run(count)
        run = replace(run, steps=[long_text, *run.steps[1:]])
        assert len(timeline_of(run).rows[0].preview) == length


def test_what_is_drawn_of_a_run_is_the_same_whether_its_lines_are_written_or_not() -> None:
    loaded = long_run(60)
    whole, page = timeline_of(loaded), timeline_of(loaded, 7)
    assert list(page.rows[:7]) == list(whole.rows[:7])
    assert (page.span_us, page.folding, page.dearest, page.open) == (
        whole.span_us,
        whole.folding,
        whole.dearest,
        whole.open,
    )
    for folding in (page.folding, UNFOLDED):
        assert overview_of(loaded, page, folding) == overview_of(loaded, whole, folding)
    assert {row.preview for row in page.rows[7:]} == {""}
