"""Postgres errors in our words: one table from SQLSTATE to what is done about it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import Enum
from typing import TypeVar

import asyncpg

from watchllm_proxy.errors import StoreError, StoreRejected, StoreUnavailable

T = TypeVar("T")

RETRIES = 5
FIRST_RETRY_S = 0.02
"""Mean of the first pause; each later one is twice as long. Five of them are about half a second."""


class Answer(Enum):
    """What is done about an error."""

    REFUSED = "refused"  # it lies in the rows: never again, look for the one that is to blame
    RETRY = "retry"  # lost against another transaction: the same again wins, after a moment
    AWAY = "away"  # may be put right by time or a person: wait, with longer and longer pauses


ANSWERS: dict[str, Answer] = {
    "08": Answer.AWAY,  # the connection broke, was refused, or a pooler has none to give
    "21": Answer.REFUSED,  # one statement, one row twice
    "22": Answer.REFUSED,  # a value: out of range, not this encoding, not JSON
    "23": Answer.REFUSED,  # a constraint
    "25": Answer.AWAY,  # 25006: read-only, as a standby is; 25P03: we idled in a transaction and were cut off
    "28": Answer.AWAY,  # the password changed
    "3D": Answer.AWAY,  # the database is not there (yet)
    "40": Answer.RETRY,  # 40001 serialisation, 40P01 deadlock
    "42": Answer.AWAY,  # no such table or column, not allowed: not migrated yet
    "53": Answer.AWAY,  # 53100 disk full, 53200 memory, 53300 too many connections
    "54": Answer.REFUSED,  # beyond a limit of the program: too many columns, too deep
    "55": Answer.AWAY,  # 55006 in use, 55000 not in this state
    "55P03": Answer.RETRY,  # a lock was not to be had in time
    "57": Answer.AWAY,  # 57P01 to 57P03: shutting down, crashed, starting; 57014: it took too long
    "58": Answer.AWAY,  # the machine: an I/O error
    "XX": Answer.AWAY,  # a bug or a broken index over there
}
"""By SQLSTATE or its class, the longer one first. What is not here is AWAY: no row is thrown away for an error
that nobody thought of."""

_TELLING_CLASSES = frozenset({"08", "25", "28", "3D", "3F", "42", "53", "55", "57"})
"""Classes whose message names no values: they may be shown."""


class StoreConflict(StoreUnavailable):
    """Lost against another transaction. Inside the store it is tried again at once; for others it is away."""


def answer_to(sqlstate: str) -> Answer:
    return ANSWERS.get(sqlstate) or ANSWERS.get(sqlstate[:2], Answer.AWAY)


async def until_no_conflict(operation: Callable[[], Awaitable[T]]) -> T:
    """Do it, and again after a random pause where another transaction came first, at most `RETRIES` times."""
    pause_s = FIRST_RETRY_S
    for _ in range(RETRIES):
        try:
            return await operation()
        except StoreConflict:
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
            pause_s *= 2
    return await operation()


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Raises `StoreUnavailable` or `StoreRejected` for what the driver, the server or the network raises."""
    try:
        yield
    except asyncpg.PostgresError as exc:
        raise error_for(exc) from exc
    except asyncpg.DataError as exc:
        raise StoreRejected("Postgres cannot hold a value of these rows") from exc
    except asyncpg.InterfaceError as exc:
        if isinstance(exc, ValueError):  # the driver's own DataError: a value of the wrong type or range
            raise StoreRejected("Postgres cannot hold a value of these rows") from exc
        raise StoreUnavailable(f"the connection to Postgres is gone: {exc}") from exc
    except asyncpg.InternalClientError as exc:
        raise StoreUnavailable(f"the connection to Postgres is broken: {exc}") from exc
    except TimeoutError as exc:
        raise StoreUnavailable("Postgres does not answer in time") from exc
    except OSError as exc:
        raise StoreUnavailable(f"Postgres cannot be reached: {exc}") from exc


def error_for(exc: asyncpg.PostgresError) -> StoreError:
    """A message quotes values where the fault is in the data, so only harmless ones are passed on."""
    sqlstate = exc.sqlstate or "?????"
    which = f"SQLSTATE {sqlstate}, {type(exc).__name__}"
    said = f": {exc.args[0]}" if exc.args and sqlstate[:2] in _TELLING_CLASSES else ""
    match answer_to(sqlstate):
        case Answer.REFUSED:
            return StoreRejected(f"Postgres refuses these rows ({which})")
        case Answer.RETRY:
            return StoreConflict(f"Postgres did something else first ({which}){said}")
        case Answer.AWAY:
            return StoreUnavailable(f"Postgres cannot do it now ({which}){said}")
