"""Postgres errors in our words, told apart by SQLSTATE."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from watchllm_proxy.errors import StoreError, StoreRejected, StoreUnavailable

_DATA_CLASSES = frozenset({"21", "22", "23", "54"})
"""Cardinality, data, integrity, program limits: what lies in the rows. All else (connections, memory, locks,
rights, a missing table) may be put right by time or a person, and the batch waits for it."""

_TELLING_CLASSES = frozenset({"08", "28", "3D", "3F", "42", "53", "55", "57"})
"""Classes whose message names no values: they may be shown."""


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
    if sqlstate[:2] in _DATA_CLASSES:
        return StoreRejected(f"Postgres refuses these rows (SQLSTATE {sqlstate}, {type(exc).__name__})")
    said = f": {exc.args[0]}" if exc.args and sqlstate[:2] in _TELLING_CLASSES else ""
    return StoreUnavailable(f"Postgres cannot do it now (SQLSTATE {sqlstate}, {type(exc).__name__}){said}")
