"""Blocks of ClickHouse's Native format, in memory: columns as bytes, without a socket.

`clickhouse-driver` writes and reads these blocks on its connections. The embedded engine takes the same
blocks through a file, so a row has one meaning on both, down to the last bit (decision 0050).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Protocol

from clickhouse_driver.block import RowOrientedBlock
from clickhouse_driver.bufferedreader import BufferedSocketReader
from clickhouse_driver.bufferedwriter import BufferedSocketWriter
from clickhouse_driver.context import Context
from clickhouse_driver.streams.native import BlockInputStream, BlockOutputStream

_BUFFER_BYTES = 1024 * 1024
_FILE_REVISION = 0
"""The protocol revision that FORMAT Native has in files: no block info, no serialization marks."""


class _Sink(Protocol):
    def write(self, data: memoryview | bytes, /) -> object: ...


def write_block(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[object]], sink: _Sink) -> None:
    """Write `rows` as one block of `columns` (name, type). A value that does not fit raises the driver's error."""
    writer = BufferedSocketWriter(_WriteSide(sink), _BUFFER_BYTES)
    BlockOutputStream(writer, _context()).write(RowOrientedBlock(list(columns), [tuple(row) for row in rows]))


def read_blocks(data: bytes) -> list[dict[str, object]]:
    """Rows of all blocks in `data`, as dicts by column name."""
    reader = BufferedSocketReader(_ReadSide(data), _BUFFER_BYTES)
    stream = BlockInputStream(reader, _context())
    rows: list[dict[str, object]] = []
    while True:
        try:
            block = stream.read()
        except EOFError:
            return rows
        names = [name for name, _ in block.columns_with_types]
        rows += [dict(zip(names, row, strict=True)) for row in block.get_rows()]


class _WriteSide:
    """What the driver's buffered writer wants of a socket."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink

    def sendall(self, data: memoryview | bytes) -> None:
        self._sink.write(data)


class _ReadSide:
    """What the driver's buffered reader wants of a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def recv_into(self, buffer: bytearray) -> int:
        return self._data.readinto(buffer)


def _context() -> Context:
    context = Context()
    context.server_info = SimpleNamespace(used_revision=_FILE_REVISION, get_timezone=lambda: "UTC")
    context.settings = {}
    context.client_settings = {
        "strings_as_bytes": False,
        "strings_encoding": "utf-8",
        "use_numpy": False,
        "input_format_null_as_default": False,
        "namedtuple_as_json": True,
    }
    return context
