"""What people write into the fields of a form, as the API takes it: nothing is null, and digits are a number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from watchllm_proxy.console.answers import Problem

_MAX_DIGITS = 18


def limits(fields: Mapping[str, str], names: Iterable[str]) -> dict[str, object]:
    """Those of `names` that the form has; what is no whole number stays the text that it is."""
    return {name: whole(fields[name].strip()) for name in names if name in fields}


def number(text: str) -> object:
    """A whole number or one with a point; else the text, which no rule about numbers takes."""
    digits = whole(text)
    if digits is None or isinstance(digits, int):
        return digits
    try:
        return float(text)
    except ValueError:
        return text


def in_words(problem: Problem) -> str:
    """A problem with a field, beside that field: what JSON calls null is there an empty field."""
    words = str(problem).replace(", or null", ", or empty").removeprefix(f"{problem.param} ")
    return words[:1].upper() + words[1:]


def plain(value: Decimal | int) -> str:
    """Digits as a field takes them back: no exponent, no zeros behind the last figure."""
    text = f"{value:f}" if isinstance(value, Decimal) else str(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def whole(text: str) -> int | str | None:
    """Digits as the number that they are; other text as it is."""
    if not text:
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else text
