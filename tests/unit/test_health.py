"""What `/readyz` says of stores and recorder, from what they know of themselves."""

from __future__ import annotations

from typing import Any

from watchllm_proxy.console.context import Waiting
from watchllm_proxy.errors import StoreRejected, StoreUnavailable
from watchllm_proxy.health import AWAY, BEHIND_S, StoresAway, UpstreamWatch, checks, health_of, waiting
from watchllm_proxy.outcomes import DeadLetterReason
from watchllm_proxy.patience import Patience
from watchllm_proxy.recorder_stats import CLICKHOUSE, LOG, POSTGRES, Outage, RecorderStats


def running(**changes: Any) -> RecorderStats:
    return RecorderStats(is_starting=False, **changes)


def test_all_is_well_at_first() -> None:
    assert checks(running(), StoresAway()) == {"postgres": None, "clickhouse": None, "recorder": None}


def test_a_start_says_only_what_is_so_at_a_first_one_too() -> None:
    starting = checks(RecorderStats(is_starting=True), StoresAway())
    assert starting["recorder"] == "starting: captures wait in the log until it is ready"


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


def test_who_is_away_says_since_when_how_often_it_was_tried_and_when_it_is_tried_again() -> None:
    stats, away = running(waiting_for=CLICKHOUSE, outage=Outage(7_000_000, 12, 9_500_000)), StoresAway()
    assert waiting(stats, away, 8_000_000) == {"clickhouse": Waiting(7_000_000, 12, 1.5)}
    assert waiting(stats, away, 10_000_000) == {"clickhouse": Waiting(7_000_000, 12, 0.0)}
    assert waiting(running(waiting_for=LOG, outage=stats.outage), away, 0)["recorder"].tries == 12
    assert waiting(running(), away, 0) == waiting(None, away, 0) == {}


def test_an_outage_is_one_from_its_first_try_to_the_one_that_succeeds() -> None:
    away = StoresAway()
    away.note(POSTGRES, StoreUnavailable("refused"), 5.0)
    since_us = away.outages[POSTGRES].since_us
    away.note(POSTGRES, StoreUnavailable("refused"), 5.0)
    told = waiting(None, away, away.outages[POSTGRES].next_try_us - 2_000_000)
    assert told == {"postgres": Waiting(since_us, 2, 2.0)}
    away.note(POSTGRES, None)
    assert waiting(None, away, 0) == {}


async def test_the_recorder_tells_of_an_outage_while_it_waits_and_of_none_afterwards() -> None:
    stats, seen = running(), list[Outage | None]()

    async def note_lag() -> None:
        seen.append(stats.outage)

    async def ask() -> int:
        if len(seen) < 3:
            raise StoreUnavailable("refused")
        return 7

    assert await Patience(stats, note_lag=note_lag).on_clickhouse(ask) == 7
    assert [outage and outage.tries for outage in seen] == [1, 2, 3]
    assert len({outage and outage.since_us for outage in seen}) == 1
    assert (stats.waiting_for, stats.outage) == (None, None)


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
