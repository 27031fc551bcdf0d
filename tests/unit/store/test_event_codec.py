"""Rows of ClickHouse as JSON: what goes out comes in the same, whatever the bytes."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchllm_proxy.store.event_codec import from_json, plain, to_json

COLUMNS = {
    "text": "LowCardinality(Nullable(String))",
    "hash": "Nullable(FixedString(16))",
    "hashes": "Array(FixedString(16))",
    "names": "Array(LowCardinality(String))",
    "tags": "Map(LowCardinality(String), String)",
    "id": "UUID",
    "at": "DateTime64(6, 'UTC')",
    "cost": "Nullable(Decimal(18, 12))",
    "count": "Nullable(UInt64)",
    "flag": "Bool",
}


def selected_row(
    text: bytes | None, names: list[bytes], tags: dict[bytes, bytes], digest: bytes
) -> dict[str, object]:
    """As ClickHouse answers what `selected` asks."""
    return {
        "text_": None if text is None else text.hex().upper(),
        "hash_": digest.hex().upper(),
        "hashes_": [digest.hex().upper()] * 2,
        "names_": [name.hex().upper() for name in names],
        "tags_": [[name.hex(), value.hex()] for name, value in tags.items()],
        "id_": "00000000-0000-0000-0000-00000000000a",
        "at_": 1_760_000_000_000_001,
        "cost_": "0.000000000001",
        "count_": 2**64 - 1,
        "flag_": True,
    }


@given(
    st.none() | st.binary(max_size=20),
    st.lists(st.binary(max_size=5), max_size=3),
    st.dictionaries(st.binary(max_size=5), st.binary(max_size=5), max_size=3),
    st.binary(min_size=16, max_size=16),
)
def test_any_bytes_survive_json(
    text: bytes | None, names: list[bytes], tags: dict[bytes, bytes], digest: bytes
) -> None:
    line = orjson.dumps(to_json(COLUMNS, selected_row(text, names, tags, digest)))
    assert from_json(COLUMNS, orjson.loads(line)) == (
        text,
        digest,
        [digest, digest],
        names,
        tags,
        UUID(int=10),
        1_760_000_000_000_001,
        Decimal("0.000000000001"),
        2**64 - 1,
        True,
    )


def test_text_is_readable_where_it_is_text() -> None:
    row = to_json(COLUMNS, selected_row("é".encode(), [b"\xff"], {}, bytes(16)))
    assert (row["text"], row["names"], row["hash"]) == ("é", [{"hex": "ff"}], "00" * 16)


@pytest.mark.parametrize("document", [{}, dict.fromkeys(COLUMNS, 5)])
def test_what_is_no_row_is_told(document: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        from_json(COLUMNS, document)


def test_types_lose_their_wrappings() -> None:
    assert plain("LowCardinality(Nullable(String))") == "String"
    assert plain("Array(LowCardinality(String))") == "Array(String)"
