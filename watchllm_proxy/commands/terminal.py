"""How commands speak: data to stdout, talk to stderr, colour only for people, nothing wrapped in a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

import orjson
import typer
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from watchllm_proxy import settings
from watchllm_proxy.commands.api_client import CommandFailed, ExitStatus
from watchllm_proxy.errors import SettingsError, WatchLLMError

GAP = "  "


class Terminal:
    """The two streams of one command, looked up when it runs (so that tests and pipes are seen)."""

    def __init__(self) -> None:
        self.out = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self.err = Console(file=sys.stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._is_for_a_program = False

    @property
    def is_interactive(self) -> bool:
        """A person reads stdout: lines may be cut to the window, and the closing link goes there too."""
        return self.out.is_terminal

    def line(self, text: Text | str) -> None:
        """One line of data, cut to the window for a person and never for a pipe."""
        shown = text if isinstance(text, Text) else Text(text)
        if self.is_interactive:
            shown.truncate(self.out.width, overflow="ellipsis")
        self.out.print(shown)

    def show(self, data: RenderableType) -> None:
        """Data that lays itself out."""
        self.out.print(data)

    def address(self, url: str) -> None:
        """An address as data, whole whatever the window's width."""
        self.out.print(Text(url))

    def json(self, value: object) -> None:
        """One compact JSON document on a line of its own, money exact."""
        self.json_bytes(orjson.dumps(value, default=_exact))

    def json_bytes(self, document: bytes) -> None:
        """A JSON document as the server wrote it."""
        self._is_for_a_program = True
        sys.stdout.write(document.decode() + "\n")
        sys.stdout.flush()

    def say(self, text: str, style: str = "") -> None:
        """Talk: never mixed into data."""
        self.err.print(Text(text, style=style))

    def link(self, url: str) -> None:
        """The closing line of every output that a person reads: where to look at it."""
        if self._is_for_a_program:
            return
        where = self.out if self.is_interactive else self.err
        where.print(Text.assemble(("open ", "dim"), (url, "underline blue" if where.is_terminal else "")))


def _exact(value: object) -> object:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    raise TypeError(f"no JSON form for {type(value).__name__}")


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    align_right: bool = False


def table(columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> Iterator[Text]:
    """Aligned lines, a heading first. The last column is not padded."""
    widths = [
        max([cell_len(column.title), *(cell_len(row[index].plain) for row in rows)])
        for index, column in enumerate(columns)
    ]
    yield _aligned(columns, widths, [Text(column.title, style="dim") for column in columns])
    for row in rows:
        yield _aligned(columns, widths, row)


def _aligned(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[Text]) -> Text:
    line = Text()
    for index, (column, width, cell) in enumerate(zip(columns, widths, cells, strict=True)):
        room = " " * (width - cell_len(cell.plain))
        line.append(GAP if index else "")
        line.append(room if column.align_right else "")
        line.append_text(cell)
        line.append("" if column.align_right or index == len(columns) - 1 else room)
    return line


def clean(text: str) -> str:
    """Captured text on one line: a control character in it must not steer somebody's terminal."""
    return "".join(char if char.isprintable() else " " for char in text).strip()


@contextlib.contextmanager
def errors_told(page: str = "", *, is_data: bool = False) -> Iterator[None]:
    """Turn our errors into one line on stderr and the right exit status; end quietly when the reader left.

    `page`: of the dashboard, where to go on from what was done; told at the end, but not to a program (`is_data`).
    """
    try:
        yield
        if page and not is_data:
            Terminal().link(settings.load().base_url + page)
    except BrokenPipeError:
        # `watchllm runs | head`: the interpreter would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitStatus.ERROR) from None
    except CommandFailed as exc:
        _leave(exc, exc.status)
    except SettingsError as exc:
        _leave(exc, ExitStatus.USAGE)
    except WatchLLMError as exc:
        _leave(exc, ExitStatus.ERROR)
    except ExceptionGroup as group:
        known, other = group.split(WatchLLMError)
        if known is None or other is not None:
            raise  # a bug of ours: traceback and all
        first = _first(known)
        _leave(first, ExitStatus.USAGE if isinstance(first, SettingsError) else ExitStatus.ERROR)


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _leave(exc: BaseException, status: ExitStatus) -> NoReturn:
    Terminal().say(f"watchllm: {exc}", style="red")
    raise typer.Exit(status) from exc
