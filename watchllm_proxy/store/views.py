"""What a store can hold of a value that came from outside: views, so that no value can fail a batch.

Postgres takes no NUL and no lone surrogate in text, no number beyond its column, no year 10000; one such
value in a batch of 500 rows stores none of them. The bytes as they were are in ClickHouse, in `messages`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LAST_INSTANT = datetime(9999, 12, 31, tzinfo=UTC)

MAX_KEY_BYTES = 800
"""Of what stands in an index: a B-tree entry of Postgres ends at 2,704 bytes, and those of lists hold a project, a
name and a run. An id of 200 characters, the most that a client may send, is never cut."""

_MAX_BIGINT = 2**63 - 1
_MAX_INTEGER = 2**31 - 1
_MILLION_USD = Decimal(1_000_000)  # Decimal(18, 12) ends there; no call and no run costs as much
_PICODOLLAR = Decimal("1e-12")
_MAX_PLACES = 30


def text(value: str) -> str:
    """`value` as Postgres can hold it: NUL becomes U+FFFD, a lone surrogate "?"."""
    if "\0" in value:
        value = value.replace("\0", "\ufffd")
    if value.isascii():
        return value
    return value.encode("utf-8", "replace").decode()


def optional_text(value: str | None) -> str | None:
    return None if value is None else text(value)


def key(value: str) -> str:
    """An id for use in a key: a view as `text`; of an overlong one its beginning and its hash, the same always."""
    value = text(value)
    if len(value) * 4 <= MAX_KEY_BYTES:
        return value
    encoded = value.encode()
    if len(encoded) <= MAX_KEY_BYTES:
        return value
    digest = hashlib.blake2b(encoded, digest_size=16).hexdigest()
    return f"{value[:190]}…{digest}"


def optional_key(value: str | None) -> str | None:
    return None if value is None else key(value)


def tokens(value: int | None) -> int | None:
    """A count as told by someone; None also for what cannot be a count."""
    return value if value is not None and 0 <= value <= _MAX_BIGINT else None


def bigint(value: int) -> int:
    return max(-_MAX_BIGINT, min(value, _MAX_BIGINT))


def integer(value: int) -> int:
    return max(-_MAX_INTEGER, min(value, _MAX_INTEGER))


def optional_integer(value: int | None) -> int | None:
    return None if value is None else integer(value)


def optional_bigint(value: int | None) -> int | None:
    return None if value is None else bigint(value)


def usd(value: Decimal | None) -> Decimal | None:
    """Exact; None also for what cannot be a price: NaN, infinite, a million and more, 30 places and more."""
    if value is None or not value.is_finite() or abs(value) >= _MILLION_USD:
        return None
    exponent = value.as_tuple().exponent
    return value if isinstance(exponent, int) and exponent > -_MAX_PLACES else None


def picodollars(value: Decimal | None) -> Decimal | None:
    """`usd` to the 12 places that a column of ClickHouse has."""
    value = usd(value)
    return None if value is None else value.quantize(_PICODOLLAR)


def picodollar_text(value: Decimal | None) -> str:
    """The same as decimal text; "" where it is not known."""
    rounded = picodollars(value)
    return "" if rounded is None else format(rounded, "f")


def instant(at_us: int) -> datetime:
    """Microseconds since the epoch as a datetime, kept within what a timestamp can say."""
    try:
        return EPOCH + timedelta(microseconds=at_us)
    except OverflowError:
        return _LAST_INSTANT if at_us > 0 else EPOCH


def optional_instant(at_us: int | None) -> datetime | None:
    return None if at_us is None else instant(at_us)


def at_us(value: datetime) -> int:
    """The inverse of `instant`: exact, in integers."""
    return (value - EPOCH) // _MICROSECOND


def optional_at_us(value: datetime | None) -> int | None:
    return None if value is None else at_us(value)


def names_and_values(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(text(name), text(value)) for name, value in pairs]
