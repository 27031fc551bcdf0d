"""What may pass: asked of cap, quota, places and rate; refused with what to do; counted either way."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from watchllm_proxy.grants import KeyGrant, ProjectTerms
from watchllm_proxy.proxy.answers import Answer, Refusal
from watchllm_proxy.proxy.limits.admission import Admission
from watchllm_proxy.proxy.limits.counts import DayCounts, Usage, read_snapshot
from watchllm_proxy.proxy.limits.months import Month
from watchllm_proxy.proxy.limits.rates import RateTable
from watchllm_proxy.proxy.limits.report import UsageReport
from watchllm_proxy.proxy.limits.shares import Shares


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NOW = at("2026-11-30T23:00:00")
FREE = ProjectTerms("acme", plan="free", monthly_requests=3)
KEY = KeyGrant("acme", "key-1")


@dataclass
class Door:
    """An admission with a clock to turn."""

    directory: Path
    worker: str = "w0"
    places: int = 100
    is_alone: bool = True
    now_s: float = NOW
    refusals: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.usage = Usage(self.directory, self.worker)
        self.usage.open(self.now_s)
        self.admission = Admission(
            self.usage,
            RateTable(self.directory / "rates"),
            Shares(self.places),
            refusals=self.refusals,
            is_alone=lambda: self.is_alone,
            clock_s=lambda: self.now_s,
        )

    def refused(self, terms: ProjectTerms, grant: KeyGrant | None = None) -> Answer:
        with pytest.raises(Refusal) as refusal:
            self.admission.admit(terms, grant)
        return refusal.value.answer

    def counted(self) -> tuple[DayCounts, ...]:
        month = Month.of(self.now_s)
        found = read_snapshot(self.directory / month.name / self.worker, month)
        assert found is not None
        return found.days


def code_of(answer: Answer) -> str:
    assert answer.status == 429
    error = json.loads(answer.body)["error"]
    assert set(error) == {"message", "type", "code", "param"}
    return str(error["code"])


def retry_after(answer: Answer) -> int:
    return int(dict(answer.headers)[b"Retry-After"])


def test_a_project_without_limits_passes_and_is_counted(tmp_path: Path) -> None:
    door = Door(tmp_path)
    assert all(door.admission.admit(ProjectTerms("default"), None) for _ in range(5))
    ((project_id, _, counts),) = [(each.project_id, each.day, each.counts) for each in door.counted()]
    assert (project_id, counts) == ("default", (5, 0, 0, 0, 0, 0))


# --- the quota --------------------------------------------------------------------------------------


def test_beyond_the_quota_it_is_refused_until_the_month_is_over(tmp_path: Path) -> None:
    door = Door(tmp_path)
    assert [door.admission.admit(FREE, KEY) for _ in range(3)] == [True] * 3
    answer = door.refused(FREE, KEY)
    assert code_of(answer) == "quota_exceeded"
    assert retry_after(answer) == 3600
    message = json.loads(answer.body)["error"]["message"]
    assert "All 3 requests of this month are used up (plan free)" in message
    assert "2026-12-01T00:00:00Z" in message
    door.now_s = at("2026-12-01T00:00:00") - 0.001
    assert retry_after(door.refused(FREE, KEY)) == 1
    assert [each.counts for each in door.counted()] == [(3, 0, 2, 0, 0, 0)]
    assert door.refusals == {"quota": 2}
    door.now_s = at("2026-12-01T00:00:00")
    assert door.admission.admit(FREE, KEY)


def test_a_project_may_have_what_is_beyond_passed_on_without_its_text(tmp_path: Path) -> None:
    door = Door(tmp_path)
    terms = ProjectTerms("acme", plan="free", monthly_requests=2, passes_over_quota=True)
    assert [door.admission.admit(terms, None) for _ in range(4)] == [True, True, False, False]
    assert [each.counts for each in door.counted()] == [(4, 2, 0, 0, 0, 0)]


def test_a_quota_of_nothing_lets_nothing_pass(tmp_path: Path) -> None:
    door = Door(tmp_path)
    assert code_of(door.refused(ProjectTerms("acme", monthly_requests=0))) == "quota_exceeded"


def test_workers_share_a_quota_to_the_last_request(tmp_path: Path) -> None:
    doors = [Door(tmp_path, f"w{number}") for number in range(3)]
    for door in doors:
        door.usage.look_around(NOW)
    terms = ProjectTerms("acme", monthly_requests=10)
    passed = 0
    for turn in range(60):
        try:
            doors[turn % 3].admission.admit(terms, None)
            passed += 1
        except Refusal:
            pass
    assert passed == 10


def test_what_other_machines_counted_counts_in_its_own_month_only(tmp_path: Path) -> None:
    door = Door(tmp_path)
    door.admission.take_over(UsageReport("2026-11", {"acme": 2}))
    assert door.admission.admit(FREE, None)
    assert code_of(door.refused(FREE)) == "quota_exceeded"
    door.now_s = at("2026-12-01T00:00:01")  # the report is of the month before yet
    assert [door.admission.admit(FREE, None) for _ in range(3)] == [True] * 3
    assert code_of(door.refused(FREE)) == "quota_exceeded"


def test_a_count_outlives_the_worker(tmp_path: Path) -> None:
    Door(tmp_path).admission.admit(FREE, None)
    again = Door(tmp_path)
    assert [again.admission.admit(FREE, None) for _ in range(2)] == [True, True]
    assert code_of(again.refused(FREE)) == "quota_exceeded"


# --- the cap on money -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "report",
    [
        UsageReport("2026-11", capped_projects=frozenset({"acme"})),
        UsageReport("2026-11", capped_keys=frozenset({"key-1"})),
    ],
    ids=["project", "key"],
)
def test_who_spent_what_he_may_is_refused_for_the_month(tmp_path: Path, report: UsageReport) -> None:
    door = Door(tmp_path)
    door.admission.take_over(report)
    answer = door.refused(ProjectTerms("acme"), KEY)
    assert code_of(answer) == "spending_cap_reached"
    assert retry_after(answer) == 3600
    assert door.admission.admit(ProjectTerms("other"), KeyGrant("other", "key-2"))
    assert door.refusals == {"cap": 1}
    door.now_s = at("2026-12-01T00:00:00")
    assert door.admission.admit(ProjectTerms("acme"), KEY)


def test_a_capped_key_stops_no_other_key_of_its_project(tmp_path: Path) -> None:
    door = Door(tmp_path)
    door.admission.take_over(UsageReport("2026-11", capped_keys=frozenset({"key-1"})))
    assert door.admission.admit(ProjectTerms("acme"), KeyGrant("acme", "key-2"))
    assert door.admission.admit(ProjectTerms("acme"), None)


# --- the rate ---------------------------------------------------------------------------------------


def test_a_key_and_its_project_have_a_rate_each(tmp_path: Path) -> None:
    door = Door(tmp_path)
    slow, terms = KeyGrant("acme", "slow", requests_per_minute=1), ProjectTerms("acme", requests_per_minute=3)
    assert door.admission.admit(terms, slow)
    answer = door.refused(terms, slow)
    assert code_of(answer) == "rate_limit_exceeded"
    assert 1 <= retry_after(answer) <= 60
    assert b"than this key may send (1 a minute) or this project may send (3 a minute)." in answer.body
    assert [door.admission.admit(terms, KEY) for _ in range(2)] == [True, True]
    answer = door.refused(terms, KEY)
    assert code_of(answer) == "rate_limit_exceeded"
    assert b"than this project may send (3 a minute)." in answer.body
    assert door.admission.admit(ProjectTerms("other", requests_per_minute=3), None)
    assert door.refusals == {"rate": 2}


def test_what_the_rate_refuses_uses_up_no_quota_and_what_the_quota_refuses_no_rate(tmp_path: Path) -> None:
    door = Door(tmp_path)
    terms = ProjectTerms("acme", monthly_requests=2, requests_per_minute=4)
    slow = KeyGrant("acme", "slow", requests_per_minute=1)
    assert door.admission.admit(terms, slow)
    for _ in range(5):
        door.refused(terms, slow)
    assert door.admission.admit(terms, None)
    for _ in range(5):
        assert code_of(door.refused(terms)) == "quota_exceeded"
    door.now_s = at("2026-12-01T00:00:00")
    assert [door.admission.admit(terms, None) for _ in range(2)] == [True, True]


# --- places -----------------------------------------------------------------------------------------


def test_a_flood_of_one_project_leaves_places_to_others(tmp_path: Path) -> None:
    door = Door(tmp_path, places=10, is_alone=False)
    with ExitStack() as held:
        for _ in range(5):
            door.admission.admit(ProjectTerms("flood"), None)
            held.enter_context(door.admission.shares.holding("flood"))
        answer = door.refused(ProjectTerms("flood"))
        assert code_of(answer) == "too_many_requests_of_project"
        assert retry_after(answer) == 1
        assert door.admission.admit(ProjectTerms("other"), None)
    assert door.admission.admit(ProjectTerms("flood"), None)
    assert door.refusals == {"share": 1}
