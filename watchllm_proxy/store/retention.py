"""How long what is stored is kept, and the partition that follows from it. Pure.

Retention drops whole partitions of ClickHouse, so a partition is the day from which its rows may go. It follows
from when a call began and from the retention of its project alone: a call, its messages and its bytes are of one
partition, and are dropped in one moment (decision 0135).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

DEFAULT_DAYS = 90
FOR_EVER = 0
"""As a number of days: never dropped, as far as a Date of ClickHouse reaches."""

DAY_US = 86_400_000_000
_DAYS_FOR_EVER = 36_500
_EPOCH = date(1970, 1, 1)
_LAST_DAY = 2**16 - 1  # of ClickHouse's Date: in the year 2149


@dataclass(frozen=True, slots=True)
class Retention:
    """Days that calls are kept, by project: those of `by_project`, else `default_days`."""

    default_days: int = DEFAULT_DAYS
    by_project: Mapping[str, int] = field(default_factory=dict)

    def days(self, project_id: str) -> int:
        return self.by_project.get(project_id, self.default_days)

    def expires_on(self, project_id: str, started_at_us: int) -> date:
        """The partition of a call that began then, and of its messages."""
        return expiry(started_at_us, kept_days(self.days(project_id)))

    def expires_within(self, project_id: str, started_at_us: int, at_most_days: int) -> date:
        """The partition of what is kept less long than its call: never later than that one's."""
        return min(self.expires_on(project_id, started_at_us), expiry(started_at_us, at_most_days))


def kept_days(days: int) -> int:
    """`days` as a number to count with."""
    return _DAYS_FOR_EVER if days == FOR_EVER else days


def span_days(days: int) -> int:
    """How many days of calls share a partition: few partitions, and few days that calls are kept too long."""
    if days <= 31:
        return 1
    return 7 if days <= 400 else 30


def expiry(started_at_us: int, days: int) -> date:
    """Calls that began then are kept for `days` at least, and until the last of their partition was."""
    span = span_days(days)
    first_day_after = (max(0, started_at_us) // DAY_US // span + 1) * span
    return _EPOCH + timedelta(days=min(first_day_after + days, _LAST_DAY))
