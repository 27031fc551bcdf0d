"""ClickHouse inside this process: a directory, opened by one process at a time.

Importing the engine takes time and a tenth of a gigabyte, so it is imported when it is opened.
Rows go in as a Native block through a file in memory. They never stand in the SQL text: the engine cuts
inline data at line ends and would run what follows as a statement (decision 0050).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from clickhouse_driver.errors import Error as DriverError

from watchllm_proxy import lean
from watchllm_proxy.errors import StoreRejected, StoreUnavailable
from watchllm_proxy.store.clickhouse import INSERT_SETTINGS, Params, error_for
from watchllm_proxy.store.embedded.lock import DirectoryLock
from watchllm_proxy.store.native import read_blocks, write_block

T = TypeVar("T")

DATABASE = "watchllm"
_CODE = re.compile(r"Code: (\d+)\.")
_ESCAPES = str.maketrans(
    {
        "\b": "\\b",
        "\f": "\\f",
        "\r": "\\r",
        "\n": "\\n",
        "\t": "\\t",
        "\0": "\\0",
        "\a": "\\a",
        "\v": "\\v",
        "\\": "\\\\",
        "'": "\\'",
    }
)


class EmbeddedClickHouse:
    """The engine on `directory`. Raises `AlreadyRunning` when another process (or object) holds it.

    The engine allows one directory per process. `connect()` gives any number of stores on it, each
    for its own thread.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = directory / "data"
        self._lock = DirectoryLock(directory, "the embedded ClickHouse")
        try:
            # The engine takes a `config.xml` of the working directory for its own: whose that is, nobody knows.
            with contextlib.chdir(directory):
                self._keeper = EmbeddedStore(self._path.absolute())
        except BaseException:
            self._lock.release()
            raise

    def connect(self, database: str = DATABASE) -> EmbeddedStore:
        """A store on this engine and a database of it, to be closed before the engine is."""
        store = EmbeddedStore(self._path)
        store.execute(f"CREATE DATABASE IF NOT EXISTS {database}")
        store.execute(f"USE {database}")
        return store

    def close(self) -> None:
        """Closes the engine once its last store is closed. Closing twice is closing once."""
        self._keeper.close()
        self._lock.release()


class EmbeddedStore:
    """`EventStore` on the embedded engine."""

    def __init__(self, path: Path) -> None:
        with lean.hollow("pyarrow"):  # with numpy 40 MB, for formats that nobody here asks for
            from chdb import session  # noqa: PLC0415 - it takes long, and only where it is used

        open_session: Any = session.Session
        self._session: Any = _translating(lambda: open_session(str(path)))
        self._types: dict[str, dict[str, str]] = {}

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str) -> None:
        if not rows:
            return
        types = self._column_types(table)
        block = [(column, types[column]) for column in columns]
        names = ", ".join(f"`{column}`" for column in columns)
        settings = ", ".join(f"{name} = {value}" for name, value in INSERT_SETTINGS.items())
        with open(os.memfd_create("watchllm-insert"), "wb") as file:
            _translating(lambda: write_block(block, rows, file))
            file.flush()
            self._run(
                f"INSERT INTO {table} ({names}) FROM INFILE '/proc/self/fd/{file.fileno()}' "
                f"SETTINGS {settings}, insert_deduplicate = 1, insert_deduplication_token = '{_quoted(token)}' "
                "FORMAT Native",
                None,
            )

    def query(self, sql: str, params: Params | None = None) -> list[dict[str, object]]:
        return read_blocks(self._run(sql, params))

    def execute(self, sql: str, params: Params | None = None) -> None:
        self._run(sql, params)

    def define(self, sql: str, params: Params | None = None) -> None:
        self._types.clear()
        self._run(sql, params)

    def ping(self) -> None:
        self.query("SELECT 1")

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _run(self, sql: str, params: Params | None) -> bytes:
        if self._session is None:
            raise StoreUnavailable("the embedded ClickHouse is closed")
        texts = {name: _param_text(value) for name, value in (params or {}).items()}
        result: bytes = _translating(lambda: self._session.query(sql, "Native", params=texts).bytes())
        return result

    def _column_types(self, table: str) -> dict[str, str]:
        """Types by column name. Remembered: a migration runs before the stores that it changes are opened."""
        if table not in self._types:
            described = self.query(f"DESCRIBE TABLE {table}")
            self._types[table] = {str(row["name"]): str(row["type"]) for row in described}
        return self._types[table]


def _param_text(value: str | int | Sequence[str]) -> str:
    """A parameter as the engine reads it: a string escaped, an array as a literal of quoted strings."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, int):
        return str(int(value))
    return "[" + ",".join(f"'{_quoted(item)}'" for item in value) + "]"


def _quoted(text: str) -> str:
    return text.encode("utf-8", "replace").decode().translate(_ESCAPES)


def _translating(operation: Callable[[], T]) -> T:
    """The engine raises RuntimeError for everything; the code stands at the beginning of its text."""
    try:
        return operation()
    except RuntimeError as exc:
        text = str(exc)
        found = _CODE.match(text)
        raise error_for(int(found[1]) if found else None, text.partition("\n")[0][:200]) from exc
    except DriverError as exc:
        raise error_for(exc.code, "a row does not fit its table") from exc
    except OSError as exc:
        raise StoreUnavailable(f"the embedded ClickHouse cannot be reached: {exc}") from exc
    except (ValueError, TypeError, AttributeError, OverflowError) as exc:
        raise StoreRejected(f"a row does not fit its table: {type(exc).__name__}") from exc
