"""Which migrations are missing, and when the answer is an error."""

from __future__ import annotations

import pytest

from watchllm_proxy.errors import StoreRejected
from watchllm_proxy.store.migrate import Migration, migrations, missing

ONE, TWO = Migration(1, "0001_one", "SELECT 1"), Migration(2, "0002_two", "SELECT 2")


def noted(*known: Migration) -> list[tuple[int, str, str]]:
    return [(each.number, each.name, each.sha256) for each in known]


def test_what_was_not_applied_is_missing_in_order() -> None:
    assert missing("postgres", [ONE, TWO], []) == [ONE, TWO]
    assert missing("postgres", [ONE, TWO], noted(ONE)) == [TWO]
    assert missing("postgres", [ONE, TWO], noted(ONE, TWO)) == []


def test_an_edited_one_and_an_unknown_one_are_named() -> None:
    edited = Migration(1, "0001_one", "SELECT 1 -- now better")
    with pytest.raises(StoreRejected, match="postgres/0001_one was edited"):
        missing("postgres", [edited, TWO], noted(ONE))
    with pytest.raises(StoreRejected, match=r"0002_two.*upgrade"):
        missing("postgres", [ONE], noted(ONE, TWO))


@pytest.mark.parametrize("engine", ["clickhouse", "postgres"])
def test_numbers_run_without_a_gap(engine: str) -> None:
    assert [each.number for each in migrations(engine)] == list(range(1, len(migrations(engine)) + 1))
    assert migrations(engine)
