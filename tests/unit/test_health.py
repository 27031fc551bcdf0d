"""What `/readyz` says of stores and recorder, from what they know of themselves."""

from __future__ import annotations

from typing import Any

from watchllm_proxy.errors import StoreRejected, StoreUnavailable
from watchllm_proxy.health import AWAY, BEHIND_S, StoresAway, UpstreamWatch, checks, health_of
from watchllm_proxy.outcomes import DeadLetterReason
from watchllm_proxy.recorder_stats import CLICKHOUSE, LOG, POSTGRES, RecorderStats


def running(**changes: Any) -> RecorderStats:
    return RecorderStats(is_starting=False, **changes)


def test_all_is_well_at_first() -> None:
    assert checks(running(), StoresAway()) == {"postgres": None, "clickhouse": None, "recorder": None}


def test_a_console_alone_says_nothing_of_a_recorder() -> None:
    assert checks(None, StoresAway()) == {"postgres": None, "clickhouse": None}


def test_both_stores_can_be_away_and_come_back_one_by_one() -> None:
    away = StoresAway()
    away.note(POSTGRES, StoreUnavailable("refused"))
    away.note(CLICKHOUSE, StoreUnavailable("refused"))
    assert checks(None, away) == {"postgres": AWAY, "clickhouse": AWAY}
    away.note(POSTGRES, None)
    assert checks(None, away) == {"postgres": None, "clickhouse": AWAY}


def test_what_a_store_refuses_is_told_in_its_words_and_an_address_is_not() -> None:
    away = StoresAway()
    away.note(POSTGRES, StoreRejected("migration 0009 is not known"))
    away.note(CLICKHOUSE, StoreUnavailable("cannot reach db.internal:9000"))
    found = checks(None, away)
    assert found["postgres"] == "migration 0009 is not known"
    assert "db.internal" not in str(found["clickhouse"])


def test_the_store_that_the_recorder_waits_for_is_named() -> None:
    found = checks(running(waiting_for=CLICKHOUSE), StoresAway())
    assert found == {"postgres": None, "clickhouse": AWAY, "recorder": None}


def test_a_log_that_cannot_be_read_is_the_recorders_trouble() -> None:
    assert "capture log" in str(checks(running(waiting_for=LOG), StoresAway())["recorder"])


def test_a_recorder_that_has_not_taken_up_its_work_is_told() -> None:
    assert "starting" in str(checks(RecorderStats(), StoresAway())["recorder"])


def test_a_recorder_that_is_behind_says_how_far() -> None:
    assert "75 s behind" in str(checks(running(lag_s=75.0), StoresAway())["recorder"])
    assert checks(running(lag_s=BEHIND_S - 1), StoresAway())["recorder"] is None


def test_dead_letters_are_told_and_counted() -> None:
    stats = running()
    stats.dead_letters.update({DeadLetterReason.CRASHED: 2, DeadLetterReason.CORRUPT: 1})
    assert "3 records" in str(checks(stats, StoresAway())["recorder"])


async def test_an_upstream_that_refuses_is_known_as_unreachable() -> None:
    watch = UpstreamWatch("http://127.0.0.1:1/v1")
    assert (await health_of(None, watch, StoresAway())()).is_upstream_reachable is None
    await watch._check()
    assert (await health_of(None, watch, StoresAway())()).is_upstream_reachable is False
