"""Memory of a proxy worker under many streams and slow readers, twenty seconds of what `python -m bench streams`
looks at for minutes."""

from __future__ import annotations

import asyncio

import pytest

from bench import streams
from bench.streams import Plan

STREAMS = 500
RAMP_UP_S = 4.0
STREAM_S = 5.0  # ten events, half a second apart


@pytest.mark.slow
@pytest.mark.timeout(90)
async def test_hundreds_of_streams_at_once_leave_the_memory_of_a_worker_flat() -> None:
    plan = Plan(streams=STREAMS, seconds=20.0, events=10, pause_s=0.5, ramp_up_s=RAMP_UP_S)

    course = await asyncio.to_thread(streams.many_streams, plan)

    assert course.failed == 0
    assert course.most_at_once == STREAMS
    assert course.finished > 2 * STREAMS
    assert course.received_bytes == course.finished * streams.stream_bytes(plan)
    settled = course.at(RAMP_UP_S + STREAM_S)
    assert course.samples[-1].rss_mb - settled.rss_mb < 20
    assert course.peak.rss_mb - course.idle.rss_mb < 64


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_a_hundred_readers_too_slow_for_their_answers_do_not_fill_a_worker() -> None:
    course = await asyncio.to_thread(streams.slow_readers, 100, 8.0)

    assert course.failed == 0
    assert course.most_at_once == 100
    assert course.received_bytes > 100 * 32 * 1024, "the readers got nothing: this proved nothing"
    assert course.peak.rss_mb - course.idle.rss_mb < 64
