"""Where the tokens and the time of a model call went."""

from __future__ import annotations

from dataclasses import replace

from tests.console_runs import call_id, refund_run
from watchllm_proxy.console.pages.attempts import MAX_ATTEMPTS, attempts_of, tokens_by_rate
from watchllm_proxy.records import Confidence, Link, LinkKind

RUN = refund_run()


def test_tokens_are_told_by_rate_where_the_upstream_told_them() -> None:
    step = replace(RUN.steps[3], input_tokens=2000, cache_read_input_tokens=500, output_tokens=30)
    assert [(row["label"], row["tokens"], row["share"]) for row in tokens_by_rate(step)] == [
        ("input, full rate", "1,500", "100%"),
        ("input, from the cache", "500", "33.33%"),
        ("output", "30", "2%"),
    ]
    untold = tokens_by_rate(replace(step, cache_read_input_tokens=None, output_tokens=None))
    assert [row["label"] for row in untold] == ["input"]
    assert tokens_by_rate(RUN.steps[9]) == []


def test_a_call_that_was_tried_again_stands_behind_the_one_that_failed() -> None:
    first, second = attempts_of(RUN.steps, RUN.links, RUN.steps[11])
    assert (first["step"], first["says"], first["took"]) == (9, "HTTP 429 rate_limit_error", "190 ms")
    assert (second["step"], second["says"], second["took"]) == (11, "HTTP 200", "2.21 s")
    assert first["left"] == "0%"
    left, width = (float(str(second[name]).removesuffix("%")) for name in ("left", "width"))
    assert left + width == 100


def test_without_a_retry_there_is_one_attempt() -> None:
    (only,) = attempts_of(RUN.steps, RUN.links, RUN.steps[3])
    assert (only["left"], only["width"], only["first_token"]) == ("0%", "100%", "40%")


def test_retries_that_name_each_other_end() -> None:
    links = {call_id(n): (Link(LinkKind.RETRY, "", Confidence.CERTAIN, call_id(11 - n), 0),) for n in (5, 6)}
    assert len(attempts_of(RUN.steps, links, RUN.steps[11])) <= MAX_ATTEMPTS
