"""May this request pass? Asked once for each, answered from memory, and counted either way.

    the cap on money    of the key, then of the project    429 spending_cap_reached
    the month's quota   of the project                     429 quota_exceeded, or passed without keeping its text
    places              of the project in this worker      429 too_many_requests_of_project
    the rate            of the key and of the project      429 rate_limit_exceeded

The rate comes last, for it alone takes something: a request that is refused for another reason costs no token.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from watchllm_proxy.grants import KeyGrant, ProjectTerms
from watchllm_proxy.proxy import answers
from watchllm_proxy.proxy.answers import Answer, Refusal
from watchllm_proxy.proxy.limits.counts import Counted, Usage
from watchllm_proxy.proxy.limits.months import Month
from watchllm_proxy.proxy.limits.rates import RateLimit, RateTable
from watchllm_proxy.proxy.limits.report import NOTHING_KNOWN, UsageReport
from watchllm_proxy.proxy.limits.shares import Shares


class Admission:
    """Of one worker. `is_alone` tells whether the installation knows one project only.

    `refusals` counts them by reason, for `/metrics`.
    """

    def __init__(
        self,
        usage: Usage,
        rates: RateTable,
        shares: Shares,
        *,
        refusals: Counter[str],
        is_alone: Callable[[], bool] = lambda: True,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._usage = usage
        self._rates = rates
        self._is_alone = is_alone
        self._clock_s = clock_s
        self._report = NOTHING_KNOWN
        self.shares = shares
        self._refusals = refusals

    def take_over(self, report: UsageReport) -> None:
        self._report = report

    def admit(self, terms: ProjectTerms, grant: KeyGrant | None) -> bool:
        """Whether its text may be kept. Raises `Refusal`."""
        now_s = self._clock_s()
        project_id = terms.project_id
        self._cap(terms, grant, now_s)
        is_over = self._is_over_quota(terms, now_s)
        self._share(terms, now_s)
        self._rate(terms, grant, now_s)
        if is_over:
            self._usage.count(now_s, project_id, Counted.PASSED, Counted.PASSED_OVER_QUOTA)
        else:
            self._usage.count(now_s, project_id, Counted.PASSED)
        return not is_over

    def _is_over_quota(self, terms: ProjectTerms, now_s: float) -> bool:
        """Raises `Refusal` for a project that wants that."""
        quota = terms.monthly_requests
        if quota is None:
            return False
        passed = self._usage.passed(now_s, terms.project_id) + self._elsewhere(terms.project_id)
        if passed < quota:
            return False
        if not terms.passes_over_quota:
            raise self._refused(
                Counted.REFUSED_QUOTA, now_s, terms, answer_of_quota(terms, self._usage.month, now_s)
            )
        return True

    def _elsewhere(self, project_id: str) -> int:
        if self._report.month != self._usage.month.name:
            return 0  # it is of another month
        return self._report.elsewhere.get(project_id, 0)

    def _cap(self, terms: ProjectTerms, grant: KeyGrant | None, now_s: float) -> None:
        report = self._report
        of_key = grant is not None and grant.key_id in report.capped_keys
        if not of_key and terms.project_id not in report.capped_projects:
            return
        month = Month.of(now_s)
        if report.month == month.name:
            answer = answer_of_cap("key" if of_key else "project", month, now_s)
            raise self._refused(Counted.REFUSED_CAP, now_s, terms, answer)

    def _share(self, terms: ProjectTerms, now_s: float) -> None:
        if not self.shares.has_room(terms.project_id, is_alone=self._is_alone()):
            raise self._refused(Counted.REFUSED_SHARE, now_s, terms, answers.PROJECT_BUSY)

    def _rate(self, terms: ProjectTerms, grant: KeyGrant | None, now_s: float) -> None:
        limits = []
        if grant is not None and grant.requests_per_minute is not None:
            limits.append(RateLimit(f"key {grant.key_id}", grant.requests_per_minute))
        if terms.requests_per_minute is not None:
            limits.append(RateLimit(f"project {terms.project_id}", terms.requests_per_minute))
        if not limits:
            return
        wait_s = self._rates.take(limits)
        if wait_s:
            allowed = {limit.subject.partition(" ")[0]: limit.per_minute for limit in limits}
            raise self._refused(Counted.REFUSED_RATE, now_s, terms, answers.rate_limited(allowed, wait_s))

    def _refused(self, what: Counted, now_s: float, terms: ProjectTerms, answer: Answer) -> Refusal:
        self._usage.count(now_s, terms.project_id, what)
        self._refusals[what.name.removeprefix("REFUSED_").lower()] += 1
        return Refusal(answer)


def answer_of_quota(terms: ProjectTerms, month: Month, now_s: float) -> Answer:
    return answers.month_used_up(
        "quota_exceeded",
        f"All {terms.monthly_requests:,} requests of this month are used up (plan {terms.plan}). "
        "Choose a larger plan (/pricing), or have the project pass on what is beyond it.",
        _instant(month),
        _seconds_left(month, now_s),
    )


def answer_of_cap(whose: str, month: Month, now_s: float) -> Answer:
    return answers.month_used_up(
        "spending_cap_reached",
        f"The monthly cap on money of this {whose} is reached. Raise the cap, or wait.",
        _instant(month),
        _seconds_left(month, now_s),
    )


def _instant(month: Month) -> str:
    return datetime.fromtimestamp(month.ends_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds_left(month: Month, now_s: float) -> int:
    return max(1, math.ceil(month.ends_s - now_s))
