"""Views: every value in, only storable values out, and harmless ones unchanged."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.store import views

ANY_TEXT = st.text(st.characters(codec=None), max_size=400)


@given(ANY_TEXT)
def test_a_text_is_encodable_and_without_nul(value: str) -> None:
    seen = views.text(value)
    assert "\0" not in seen
    assert views.text(seen) == seen, "seeing twice is seeing once"
    seen.encode()


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_a_harmless_text_stays_as_it_is(value: str) -> None:
    assert views.text(value) == value


@given(st.text(st.characters(codec=None), max_size=3000))
def test_a_key_is_short_stable_and_told_apart(value: str) -> None:
    key = views.key(value)
    assert len(key.encode()) <= views.MAX_KEY_BYTES
    assert views.key(key) == key
    if len(value) > views.MAX_KEY_BYTES:
        assert views.key(value + "x") != key


@given(st.integers())
def test_an_instant_is_exact_or_at_the_edge(at_us: int) -> None:
    seen = views.at_us(views.instant(at_us))
    assert seen == at_us or not 0 <= at_us < 253_370_764_800_000_000 or seen == views.at_us(views.instant(2**70))


@given(st.integers(0, 4_000_000_000_000_000))
def test_an_instant_of_our_times_is_exact_to_the_microsecond(at_us: int) -> None:
    assert views.at_us(views.instant(at_us)) == at_us


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "sNaN", "1e1000", "-2000000", "1e-400", "1E-30"])
def test_what_cannot_be_a_price_is_not_known(value: str) -> None:
    assert views.usd(Decimal(value)) is None
    assert views.picodollars(Decimal(value)) is None


@pytest.mark.parametrize("value", ["0", "0.000000000001", "999999.999999999999", "-0.5"])
def test_a_price_keeps_every_picodollar(value: str) -> None:
    assert views.picodollars(Decimal(value)) == Decimal(value)


@pytest.mark.parametrize(("count", "seen"), [(0, 0), (5, 5), (-1, None), (2**63 - 1, 2**63 - 1), (2**63, None)])
def test_what_cannot_be_a_count_is_not_known(count: int, seen: int | None) -> None:
    assert views.tokens(count) == seen
