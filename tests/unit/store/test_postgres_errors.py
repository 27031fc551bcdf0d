"""What is done about an error of Postgres is decided by its SQLSTATE, in one table."""

from __future__ import annotations

import re

import asyncpg
import pytest

from watchllm_proxy.errors import StoreRejected, StoreUnavailable
from watchllm_proxy.store import postgres_errors
from watchllm_proxy.store.postgres_errors import (
    ANSWERS,
    RETRIES,
    Answer,
    StoreConflict,
    answer_to,
    error_for,
    translated,
    until_no_conflict,
)

KNOWN_SQLSTATES = {
    state: error
    for error in vars(asyncpg.exceptions).values()
    if isinstance(error, type) and issubclass(error, asyncpg.PostgresError)
    if (state := getattr(error, "sqlstate", None)) is not None
}


@pytest.mark.parametrize(
    ("sqlstate", "answer"),
    [
        ("40001", Answer.RETRY),
        ("40P01", Answer.RETRY),
        ("55P03", Answer.RETRY),
        ("53300", Answer.AWAY),
        ("53100", Answer.AWAY),
        ("53200", Answer.AWAY),
        ("57P01", Answer.AWAY),
        ("57P02", Answer.AWAY),
        ("57P03", Answer.AWAY),
        ("57014", Answer.AWAY),
        ("08000", Answer.AWAY),
        ("08006", Answer.AWAY),
        ("08P01", Answer.AWAY),
        ("25006", Answer.AWAY),
        ("25P03", Answer.AWAY),
        ("28P01", Answer.AWAY),
        ("3D000", Answer.AWAY),
        ("42P01", Answer.AWAY),
        ("42501", Answer.AWAY),
        ("XX001", Answer.AWAY),
        ("22021", Answer.REFUSED),
        ("22P05", Answer.REFUSED),
        ("23514", Answer.REFUSED),
        ("54000", Answer.REFUSED),
        ("ZZ999", Answer.AWAY),
    ],
)
def test_the_answer_to_a_sqlstate(sqlstate: str, answer: Answer) -> None:
    assert answer_to(sqlstate) is answer


def test_no_record_is_given_up_for_what_time_or_a_person_can_put_right() -> None:
    """Only where the fault lies in the rows: of all that the driver knows, these classes and no other."""
    refused = {state[:2] for state in KNOWN_SQLSTATES if answer_to(state) is Answer.REFUSED}
    assert refused == {"21", "22", "23", "54"}


def test_every_class_in_the_table_exists() -> None:
    assert {state[:2] for state in ANSWERS} <= {state[:2] for state in KNOWN_SQLSTATES}
    assert len(KNOWN_SQLSTATES) > 200


@pytest.mark.parametrize("sqlstate", sorted(KNOWN_SQLSTATES))
def test_an_error_about_rows_quotes_nothing_of_them(sqlstate: str) -> None:
    error = error_for(KNOWN_SQLSTATES[sqlstate]("invalid input: a secret"))
    assert sqlstate in str(error)
    if isinstance(error, StoreRejected):
        assert "secret" not in str(error)
    else:
        assert isinstance(error, StoreUnavailable)


@pytest.mark.parametrize("raised", [OSError("gone"), TimeoutError(), asyncpg.InterfaceError("pool is closing")])
async def test_what_is_no_answer_of_the_server_is_waited_for(raised: Exception) -> None:
    with pytest.raises(StoreUnavailable):
        async with translated():
            raise raised


async def test_a_conflict_is_tried_again_until_it_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(postgres_errors.asyncio, "sleep", noting(pauses))
    left = [StoreConflict("deadlock")] * RETRIES

    async def operation() -> str:
        if left:
            raise left.pop()
        return "done"

    assert await until_no_conflict(operation) == "done"
    assert len(pauses) == RETRIES
    assert sum(pauses) < 2, "somebody waits"
    assert len({round(pause, 9) for pause in pauses}) == RETRIES, "two that met must not meet again"


async def test_a_conflict_that_does_not_end_is_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_errors.asyncio, "sleep", noting([]))
    tries = []

    async def operation() -> None:
        tries.append(1)
        raise StoreConflict("deadlock")

    with pytest.raises(StoreUnavailable):
        await until_no_conflict(operation)
    assert len(tries) == RETRIES + 1


@pytest.mark.parametrize("raised", [StoreRejected("a row"), StoreUnavailable("away"), ValueError("a bug")])
async def test_nothing_else_is_tried_again(raised: Exception) -> None:
    tries = []

    async def operation() -> None:
        tries.append(1)
        raise raised

    with pytest.raises(type(raised), match=re.escape(str(raised))):
        await until_no_conflict(operation)
    assert len(tries) == 1


def noting(pauses: list[float]):  # type: ignore[no-untyped-def]
    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    return sleep
