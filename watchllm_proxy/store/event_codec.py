"""Rows of ClickHouse as JSON and back, exactly, by the types of their columns. Pure.

Text stands as text where it is UTF-8, else as {"hex": "…"}; hashes are hexadecimal; instants are microseconds;
money is text, for a float would not hold it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from uuid import UUID

Value = object

_WRAPPED = re.compile(r"(?:Nullable|LowCardinality)\((.*)\)")


def selected(columns: Mapping[str, str]) -> str:
    """The list of a SELECT that gives what `to_json` takes, in the order of `columns` (name, type)."""
    return ", ".join(f"{_expression(f'`{name}`', plain(kind))} AS `{name}_`" for name, kind in columns.items())


def to_json(columns: Mapping[str, str], row: Mapping[str, object]) -> dict[str, Value]:
    return {name: _read(plain(kind), row[f"{name}_"]) for name, kind in columns.items()}


def from_json(columns: Mapping[str, str], document: Mapping[str, Value]) -> tuple[object, ...]:
    """A row to insert. Raises ValueError, KeyError or TypeError for a document that is none."""
    return tuple(_written(plain(kind), document[name]) for name, kind in columns.items())


def plain(kind: str) -> str:
    """The type without Nullable and LowCardinality, in arrays and maps too."""
    while match := _WRAPPED.fullmatch(kind):
        kind = match[1]
    if kind.startswith("Array("):
        return f"Array({plain(kind[6:-1])})"
    if kind.startswith("Map("):
        return "Map(String, String)"
    return kind


def _expression(column: str, kind: str) -> str:
    if kind == "String" or kind.startswith("FixedString"):
        return f"hex({column})"
    if kind.startswith("DateTime64"):
        return f"toUnixTimestamp64Micro({column})"
    if kind.startswith(("UUID", "Decimal")):
        return f"toString({column})"
    if kind.startswith("Array("):
        return f"arrayMap(one -> hex(one), {column})"
    if kind.startswith("Map("):
        return f"arrayMap((name, value) -> [hex(name), hex(value)], mapKeys({column}), mapValues({column}))"
    return column


def _read(kind: str, value: object) -> Value:
    if value is None:
        return None
    if kind == "String":
        return _text(bytes.fromhex(str(value)))
    if isinstance(value, list | tuple):
        as_hash = "FixedString" in kind
        return [
            [_read("String", part) for part in one] if isinstance(one, list | tuple) else
            str(one).lower() if as_hash else _read("String", one)
            for one in value
        ]  # fmt: skip
    if kind.startswith("FixedString"):
        return str(value).lower()
    return value


def _written(kind: str, value: Value) -> object:
    if value is None:
        return None
    if kind.startswith("Array("):
        return [_written(kind[6:-1], one) for one in _listed(value)]
    if kind.startswith("Map("):
        return {_bytes(name): _bytes(text) for name, text in (_listed(pair) for pair in _listed(value))}
    write = next((each for prefix, each in _WRITERS.items() if kind.startswith(prefix)), None)
    return value if write is None else write(value)


def _text(content: bytes) -> Value:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"hex": content.hex()}


def _bytes(value: Value) -> bytes:
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"])
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where text is wanted")
    return value.encode()


def _listed(value: Value) -> Sequence[Value]:
    if not isinstance(value, list):
        raise TypeError(f"{type(value).__name__} where a list is wanted")
    return value


_WRITERS: dict[str, Callable[[Value], object]] = {
    "String": _bytes,
    "FixedString": lambda value: bytes.fromhex(str(value)),
    "UUID": lambda value: UUID(str(value)),
    "Decimal": lambda value: Decimal(str(value)),
}
