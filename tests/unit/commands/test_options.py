"""Values of options: ages and dates."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from watchllm_proxy.commands.api_client import CommandFailed, ExitStatus
from watchllm_proxy.commands.options import instant_of

NOW = datetime(2026, 1, 15, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("when", "instant"),
    [
        ("90s", "2026-01-15T11:58:30.000Z"),
        ("15m", "2026-01-15T11:45:00.000Z"),
        ("1h", "2026-01-15T11:00:00.000Z"),
        ("2D", "2026-01-13T12:00:00.000Z"),
        ("1w", "2026-01-08T12:00:00.000Z"),
        ("2026-01-15T10:00:00Z", "2026-01-15T10:00:00.000Z"),
        ("2026-01-15T10:00:00+02:00", "2026-01-15T08:00:00.000Z"),
    ],
)
def test_an_age_or_a_date_becomes_an_instant_in_utc(when: str, instant: str) -> None:
    assert instant_of(when, NOW) == instant


def test_no_limit_stays_no_limit() -> None:
    assert instant_of(None, NOW) is None


@pytest.mark.parametrize("when", ["", "soon", "1", "-1h", "1y", "2026-13-01", "999999w"])
def test_anything_else_is_wrong_usage_and_says_what_would_be_right(when: str) -> None:
    with pytest.raises(CommandFailed, match="1h, 2d") as caught:
        instant_of(when, NOW)
    assert caught.value.status is ExitStatus.USAGE
