"""What a project may choose, and that the page tells of all of it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.conftest import PROJECT
from watchllm_proxy.enrich.flags.thresholds import CHOICES, DEFAULT_THRESHOLDS, chosen, is_choice
from watchllm_proxy.records import FlagKind


def test_what_a_project_chose_stands_beside_what_holds_for_all() -> None:
    found = chosen({"loop_times": Decimal("5.0"), "run_budget_usd": Decimal("0.25")})
    assert (found.loop_times, found.run_budget_usd) == (5, Decimal("0.25"))
    assert isinstance(found.loop_times, int)
    assert found.huge_output_chars == DEFAULT_THRESHOLDS.huge_output_chars
    assert chosen({}) is DEFAULT_THRESHOLDS


@pytest.mark.parametrize("name", CHOICES)
def test_what_holds_for_all_can_be_chosen_and_what_is_out_of_bounds_cannot(name: str) -> None:
    least, most, is_whole = CHOICES[name]
    usual = getattr(DEFAULT_THRESHOLDS, name)
    assert usual is None or is_choice(name, Decimal(usual))
    assert is_choice(name, least)
    assert is_choice(name, most)
    assert not is_choice(name, least / 2)
    assert not is_choice(name, most + 1)
    assert not is_choice(name, Decimal("NaN"))
    assert is_choice(name, least + Decimal("0.5")) is not is_whole or least + 1 > most


def test_the_page_tells_of_every_flag_and_of_every_choice() -> None:
    page = (PROJECT / "docs" / "flags.md").read_text(encoding="utf-8")
    assert [word for word in (*FlagKind, *CHOICES) if f"`{word}`" not in page] == []
