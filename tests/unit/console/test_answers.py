from __future__ import annotations

import json
from decimal import Decimal

import pytest

from watchllm_proxy.console.answers import dumps, money_text, raw_json


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0"),
        ("0.000231", "0.000231"),
        ("1E-7", "0.0000001"),
        ("0.1000", "0.1"),
        ("100", "100"),
        ("0.1234567890126", "0.123456789013"),
        ("-0.5", "-0.5"),
    ],
)
def test_money_is_an_exact_number_without_exponent(amount: str, text: str) -> None:
    assert money_text(Decimal(amount)) == text


def test_no_float_comes_between_a_price_and_its_json() -> None:
    amount = Decimal("0.123456789012")
    assert json.loads(dumps({"cost": amount}), parse_float=Decimal) == {"cost": amount}


def test_money_that_is_no_number_is_unknown() -> None:
    assert dumps([Decimal("NaN"), Decimal("Infinity")]) == b"[null,null]"


def test_lone_surrogates_become_replacement_characters() -> None:
    assert json.loads(dumps({"a\ud800": ["x\udfff", Decimal("0.1")]})) == {"a\ufffd": ["x\ufffd", 0.1]}


def test_captured_numbers_pass_unrounded() -> None:
    assert dumps(raw_json('{"n":12345678901234567890.1}')) == b'{"n":12345678901234567890.1}'


@pytest.mark.parametrize("text", ["{broken", "", "NaN", b"\xff\xfe"])
def test_what_is_no_json_is_a_string(text: str | bytes) -> None:
    assert isinstance(json.loads(dumps(raw_json(text))), str)


def test_a_value_without_a_json_form_is_our_bug_and_raises() -> None:
    with pytest.raises(TypeError):
        dumps({"x": object()})
