from __future__ import annotations

from decimal import Decimal

import pytest

from watchllm_proxy.console import formats


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "unpriced"),
        ("0", "$0.0000"),
        ("0.0000001", "<$0.000001"),
        ("0.000231", "$0.000231"),
        ("0.0219", "$0.0219"),
        ("2.3911", "$2.3911"),
        ("1234.5", "$1,234.50"),
    ],
)
def test_money_is_never_zero_when_it_is_unknown_or_small(amount: str | None, text: str) -> None:
    assert formats.usd(None if amount is None else Decimal(amount)) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "unpriced"),
        ("0", "$0.0000"),
        ("0.00004", "<$0.0001"),
        ("9.99994", "$9.9999"),
        ("1234.5", "$1,234.50"),
    ],
)
def test_money_in_a_column_has_four_decimals_at_most(amount: str | None, text: str) -> None:
    assert formats.usd_short(None if amount is None else Decimal(amount)) == text


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (None, "–"),
        (0, "0 ms"),
        (7, "7 µs"),
        (684_000, "684 ms"),
        (999_999, "999 ms"),
        (1_000_000, "1.00 s"),
        (59_990_000, "59.99 s"),
        (59_999_000, "1m 00s"),
        (90_000_000, "1m 30s"),
        (3_600_000_000, "1h 00m"),
    ],
)
def test_durations_take_the_unit_that_fits(us: int | None, text: str) -> None:
    assert formats.duration(us) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "–"),
        (0, "0"),
        (9999, "9,999"),
        (12_345, "12.3k"),
        (999_949, "999.9k"),
        (999_950, "1.00M"),
        (1_234_567, "1.23M"),
    ],
)
def test_large_numbers_are_short(number: int | None, text: str) -> None:
    assert formats.compact(number) == text


def test_tokens_say_which_side_is_unknown() -> None:
    assert formats.tokens(None, None) == ""
    assert formats.tokens(1804, None) == "1,804→–"


def test_of_nothing_there_is_no_share() -> None:
    assert formats.percent(1, 0) == "–"
    assert formats.percent(1, 3) == "33 %"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "just now"),
        (9, "just now"),
        (59, "59 s ago"),
        (120, "2 min ago"),
        (7200, "2 h ago"),
        (86400, "1 day ago"),
    ],
)
def test_how_long_ago(seconds: int, text: str) -> None:
    assert formats.ago(1_000_000_000_000, 1_000_000_000_000 + seconds * 1_000_000) == text


def test_instants_keep_their_microseconds() -> None:
    assert formats.instant(1_768_471_200_000_001) == "2026-01-15T10:00:00.000001Z"
    assert formats.instant(None) is None
