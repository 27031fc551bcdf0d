"""The event store: ClickHouse behind one small seam, a server by its native protocol or the embedded engine.

Both take the same SQL, the same rows and the same parameters, `{name:Type}`, which are bound and never
formatted into the text. Both are synchronous; `AsyncEventStore` gives one of them its own thread.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from typing import Protocol, TypeVar
from urllib.parse import unquote, urlsplit
from uuid import UUID

from clickhouse_driver import Client
from clickhouse_driver.errors import Error as DriverError

from watchllm_proxy.errors import StoreError, StoreRejected, StoreUnavailable
from watchllm_proxy.store.cluster import CLUSTER_INSERT_SETTINGS, on_cluster

T = TypeVar("T")
Params = Mapping[str, str | int | Sequence[str]]
"""Values of a query's `{name:Type}` places. None is not among them: neither engine binds it alike."""

CONNECT_TIMEOUT_S = 5
REPLY_TIMEOUT_S = 60
REWRITE_TIMEOUT_S = 3600
"""For what rewrites parts (a migration, an erasure): the server sends nothing until it is through."""

_SESSION_SETTINGS: dict[str, object] = {
    "server_side_params": True,
    # Of our many short statements nothing goes to the server's own log tables; slow ones are worth a look.
    "log_queries_min_query_duration_ms": 1000,
    "query_profiler_real_time_period_ns": 0,
    "query_profiler_cpu_time_period_ns": 0,
}
_QUESTION_SETTINGS = {
    # Who asked is gone after REPLY_TIMEOUT_S: the server need not go on.
    "max_execution_time": REPLY_TIMEOUT_S - 5,
}

INSERT_SETTINGS: dict[str, int] = {
    # Rows of one batch may be of many months (reported runs carry their own times).
    "max_partitions_per_insert_block": 0,
    # A retry after the answer was lost, or a crash came between: the views get their block then, at the latest.
    "deduplicate_blocks_in_dependent_materialized_views": 1,
}

_DATA_ERRORS = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        33,  # CANNOT_READ_ALL_DATA
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        43,  # ILLEGAL_TYPE_OF_ARGUMENT
        53,  # TYPE_MISMATCH
        62,  # SYNTAX_ERROR
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        131,  # TOO_LARGE_STRING_SIZE
        190,  # SIZES_OF_ARRAYS_DONT_MATCH
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        376,  # CANNOT_PARSE_UUID
        407,  # DECIMAL_OVERFLOW
        456,  # UNKNOWN_QUERY_PARAMETER
        457,  # BAD_QUERY_PARAMETER
    }
)
"""What lies in the request itself. All else (memory, disk, parts, rights, a missing table, codes not born
yet) may be put right by time or a person, and a batch must never be thrown away for it: it waits."""


class EventStore(Protocol):
    """A ClickHouse. Not thread-safe. Raises `StoreUnavailable` or `StoreRejected` and nothing else."""

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str) -> None:
        """Insert all rows or none. The same `token` again is dropped by the table; so a retry is free."""

    def query(self, sql: str, params: Params | None = None) -> list[dict[str, object]]: ...

    def execute(self, sql: str, params: Params | None = None) -> None: ...

    def define(self, sql: str, params: Params | None = None) -> None:
        """A statement about tables rather than rows: on every server of the cluster, and it may take long."""

    def ping(self) -> None:
        """Raises `StoreUnavailable` unless a query can be answered now."""

    def close(self) -> None: ...


def error_for(code: int | None, text: str) -> StoreError:
    """Our error for ClickHouse's `code`. Where the fault is in the data the text may quote it: it is left out."""
    if code in _DATA_ERRORS:
        return StoreRejected(f"ClickHouse refuses this request (code {code})")
    return StoreUnavailable(f"ClickHouse cannot do it now (code {code}): {text}")


class ClickHouseServer:
    """`EventStore` on a server, `clickhouse[s]://user:password@host:port/database`. Connects on first use.

    `cluster`: the server is one of these, all of which are to hold the tables.
    """

    def __init__(self, url: str, *, cluster: str | None = None) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "clickhouses"
        self._cluster = cluster
        self._insert_settings = {**INSERT_SETTINGS, **(CLUSTER_INSERT_SETTINGS if cluster else {})}
        self._client = Client(
            parts.hostname,
            port=parts.port or (9440 if secure else 9000),
            database=unquote(parts.path.strip("/")) or "default",
            user=unquote(parts.username or "default"),
            password=unquote(parts.password or ""),
            secure=secure,
            connect_timeout=CONNECT_TIMEOUT_S,
            send_receive_timeout=REPLY_TIMEOUT_S,
            sync_request_timeout=CONNECT_TIMEOUT_S,
            client_name="watchllm",
            settings=dict(_SESSION_SETTINGS),
        )

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str) -> None:
        if not rows:
            return
        names = ", ".join(f"`{column}`" for column in columns)
        settings = {**self._insert_settings, "insert_deduplication_token": token, "insert_deduplicate": 1}
        self._translating(
            lambda: self._client.execute(f"INSERT INTO {table} ({names}) VALUES", rows, settings=settings)
        )

    def query(self, sql: str, params: Params | None = None) -> list[dict[str, object]]:
        rows, columns = self._translating(
            lambda: self._client.execute(
                sql, _driver_params(params), with_column_types=True, settings=_QUESTION_SETTINGS
            )
        )
        names = [name for name, _ in columns]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def execute(self, sql: str, params: Params | None = None) -> None:
        self._translating(lambda: self._client.execute(sql, _driver_params(params)))

    def define(self, sql: str, params: Params | None = None) -> None:
        if self._cluster:
            sql = on_cluster(sql, self._cluster)
        connection = self._client.connection
        connection.disconnect()  # the next statement connects with the time-out that holds then
        connection.send_receive_timeout = REWRITE_TIMEOUT_S
        try:
            self._translating(lambda: self._client.execute(sql, _driver_params(params)))
        finally:
            connection.disconnect()
            connection.send_receive_timeout = REPLY_TIMEOUT_S

    def ping(self) -> None:
        self.query("SELECT 1")

    def close(self) -> None:
        self._client.disconnect()

    def _translating(self, operation: Callable[[], T]) -> T:
        try:
            return operation()
        except DriverError as exc:
            raise error_for(exc.code, _first_line(exc)) from exc
        except (OSError, EOFError) as exc:
            raise StoreUnavailable(f"ClickHouse cannot be reached: {exc}") from exc
        except (ValueError, TypeError, AttributeError, OverflowError) as exc:
            # A value that its column cannot hold, found while encoding. The driver has dropped the connection.
            raise StoreRejected(f"a row does not fit its table: {type(exc).__name__}") from exc


def _driver_params(params: Params | None) -> dict[str, object]:
    """An empty dict, not None: the driver binds parameters only where it is given some."""
    return {name: _listed(value) for name, value in (params or {}).items()}


def _listed(value: object) -> object:
    return value if isinstance(value, str | int | datetime | date | UUID) else list(value)  # type: ignore[call-overload]


def _first_line(exc: DriverError) -> str:
    """Of a server's message only the beginning: what follows may quote values."""
    return str(exc.message if hasattr(exc, "message") else exc).partition("\n")[0][:200]


class AsyncEventStore:
    """An `EventStore` in one worker thread of its own. Operations run one after another, in order."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clickhouse")

    async def insert(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str
    ) -> None:
        await self._run(functools.partial(self._store.insert, table, columns, rows, token))

    async def query(self, sql: str, params: Params | None = None) -> list[dict[str, object]]:
        return await self._run(functools.partial(self._store.query, sql, params))

    async def execute(self, sql: str, params: Params | None = None) -> None:
        await self._run(functools.partial(self._store.execute, sql, params))

    async def define(self, sql: str, params: Params | None = None) -> None:
        await self._run(functools.partial(self._store.define, sql, params))

    async def ping(self) -> None:
        await self._run(self._store.ping)

    async def close(self) -> None:
        """Waits for operations under way. Closing twice is closing once."""
        try:
            await self._run(self._store.close)
        except RuntimeError:  # the executor takes no more work: closed before
            return
        self._thread.shutdown(wait=True)

    async def _run(self, operation: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, operation)
