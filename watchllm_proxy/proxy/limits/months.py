"""Calendar months of UTC: what a quota and a cap are for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

_NAME = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
DAY_S = 86_400


@dataclass(frozen=True, slots=True, order=True)
class Month:
    year: int
    month: int

    @classmethod
    def of(cls, now_s: float) -> Month:
        """The month of this instant, seconds since 1970."""
        at = datetime.fromtimestamp(now_s, UTC)
        return cls(at.year, at.month)

    @classmethod
    def named(cls, name: str) -> Month | None:
        """None: `name` is none such as 2026-11."""
        found = _NAME.fullmatch(name)
        return None if found is None else cls(int(found[1]), int(found[2]))

    @property
    def name(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    @property
    def number(self) -> int:
        """Months since the year 0."""
        return self.year * 12 + self.month - 1

    @property
    def next(self) -> Month:
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def previous(self) -> Month:
        return Month(self.year - (self.month == 1), (self.month - 2) % 12 + 1)

    @property
    def first_day(self) -> date:
        return date(self.year, self.month, 1)

    @property
    def starts_s(self) -> int:
        return int(datetime(self.year, self.month, 1, tzinfo=UTC).timestamp())

    @property
    def ends_s(self) -> int:
        """The first second that is not in it any more."""
        return self.next.starts_s
