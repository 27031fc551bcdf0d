"""How commands speak, to a person and into a pipe."""

from __future__ import annotations

import contextlib
import os
import pty
import unicodedata
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from watchllm_proxy.commands.api_client import CommandFailed, ExitStatus, NotFound
from watchllm_proxy.commands.terminal import Column, Terminal, clean, errors_told, table
from watchllm_proxy.errors import AlreadyRunning, SettingsError

Window = Callable[[Callable[[Terminal], None]], str]


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> Iterator[Window]:
    """What stands in a terminal 40 columns wide after something was said to it."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm-256color")
    with os.fdopen(theirs, "w") as stream:

        def shown(speak: Callable[[Terminal], None]) -> str:
            with contextlib.redirect_stdout(stream):
                speak(Terminal())
            stream.flush()
            return os.read(ours, 65536).decode().rstrip()

        yield shown
    os.close(ours)


def test_a_line_is_cut_to_a_persons_window(window: Window) -> None:
    assert window(lambda terminal: terminal.line("x" * 100)) == "x" * 39 + "…"


def test_a_line_is_never_cut_or_wrapped_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().line(Text("x" * 500, style="red"))
    assert capsys.readouterr().out == "x" * 500 + "\n"


def test_a_person_gets_colour_and_with_no_color_none(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[31m" in window(lambda terminal: terminal.line(Text("failed", style="red")))
    monkeypatch.setenv("NO_COLOR", "1")
    assert window(lambda terminal: terminal.line(Text("failed", style="red"))) == "failed"


def test_the_link_goes_where_the_person_looks(window: Window, capsys: pytest.CaptureFixture[str]) -> None:
    assert "http://127.0.0.1:8787/runs" in window(lambda terminal: terminal.link("http://127.0.0.1:8787/runs"))
    assert capsys.readouterr().err == ""


def test_the_link_stays_out_of_the_data_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().link("http://127.0.0.1:8787/runs")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "open http://127.0.0.1:8787/runs\n"


def test_json_keeps_money_exact(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().json({"usd": Decimal("0.000000000001"), "text": "ä"})
    assert capsys.readouterr().out == '{"usd":0.000000000001,"text":"ä"}\n'


def test_columns_are_aligned_by_the_width_that_is_seen() -> None:
    columns = (Column("NAME"), Column("N", align_right=True), Column("LAST"))
    rows = [[Text("日本"), Text("1"), Text("a")], [Text("abc"), Text("100"), Text("")]]
    assert [line.plain.rstrip() for line in table(columns, rows)] == [
        "NAME    N  LAST",
        "日本    1  a",
        "abc   100",
    ]


@given(st.text())
def test_cleaned_text_is_one_line_without_control_or_direction_marks(text: str) -> None:
    kinds = {unicodedata.category(char) for char in clean(text)}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CommandFailed("it broke"), 1),
        (CommandFailed("it broke", ExitStatus.USAGE), 2),
        (NotFound("it broke"), 3),
        (SettingsError(["it broke"]), 2),
        (AlreadyRunning("it broke"), 1),
    ],
)
def test_our_errors_become_one_message_and_a_status(
    error: Exception, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as left, errors_told():
        raise error
    assert left.value.exit_code == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "it broke" in captured.err


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), errors_told():
        _ = 1 / 0
