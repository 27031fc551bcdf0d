"""`watchllm doctor`: look at everything that a start needs, and say what to do about what is wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import typer
from rich.text import Text

from watchllm_proxy import settings
from watchllm_proxy.commands import options
from watchllm_proxy.commands.api_client import ApiClient, ExitStatus
from watchllm_proxy.commands.checks_machine import check_data, check_limits, check_settings, wrong_settings
from watchllm_proxy.commands.checks_network import check_server, check_upstream
from watchllm_proxy.commands.findings import Finding, Level
from watchllm_proxy.commands.terminal import Terminal, errors_told
from watchllm_proxy.errors import SettingsError
from watchllm_proxy.settings import Settings

MARKS = {Level.OK: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.PROBLEM: ("✗", "red")}
AREA_WIDTH = 11
SERVER_TIMEOUT_S = 5.0


def add_to(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(*, as_json: options.Json = False, as_ndjson: options.Ndjson = False, url: options.Url = None) -> None:
    """Check settings, port, data directory, stores, upstream and clock; exit 1 if something will not work."""
    with errors_told():
        terminal = Terminal()
        findings: list[Finding] = []
        for finding in _examine(url):
            findings.append(finding)
            if as_ndjson:
                terminal.json(_document(finding))
            elif not as_json:
                _print(terminal, finding)
        if as_json:
            terminal.json({"findings": [_document(finding) for finding in findings]})
        with contextlib.suppress(SettingsError):  # told as a finding already
            terminal.link(f"{url or settings.load().base_url}/welcome")
        if any(finding.level is Level.PROBLEM for finding in findings):
            raise typer.Exit(ExitStatus.ERROR)


def _examine(url: str | None) -> Iterator[Finding]:
    """All findings as they are made. With wrong settings there is nothing else to look at yet."""
    try:
        loaded = settings.load()
    except SettingsError as exc:
        yield from wrong_settings(exc)
        return
    for findings in _checks(loaded, ApiClient(url or loaded.base_url, key=loaded.key, timeout_s=SERVER_TIMEOUT_S)):
        yield from findings


def _checks(loaded: Settings, client: ApiClient) -> Iterator[Iterable[Finding]]:
    # The databases' drivers take a third of a second to import; every other command would wait for them too.
    from watchllm_proxy.commands.checks_captures import check_captures  # noqa: PLC0415
    from watchllm_proxy.commands.checks_stores import check_stores  # noqa: PLC0415

    yield check_settings(loaded)
    yield check_data(loaded)
    yield check_limits(loaded)
    yield check_server(client, loaded)
    yield check_stores(loaded)
    yield check_captures(loaded)
    yield check_upstream(loaded)


def _print(terminal: Terminal, finding: Finding) -> None:
    """A person's long line is not cut here: what to do next must be read to its end."""
    mark, style = MARKS[finding.level]
    line = Text.assemble((mark, style), "  ", (finding.area.ljust(AREA_WIDTH), "bold"), finding.text)
    terminal.show(line)
    if finding.next_step:
        terminal.show(Text(" " * (AREA_WIDTH + 3) + "→ " + finding.next_step, style="dim"))


def _document(finding: Finding) -> dict[str, object]:
    return {
        "area": finding.area,
        "level": finding.level.value,
        "text": finding.text,
        "next_step": finding.next_step,
    }
