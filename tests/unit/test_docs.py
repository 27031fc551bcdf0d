"""The pages say what is so: every setting, column, command and file that they name, and none that is not there."""

from __future__ import annotations

import re
import tomllib
from dataclasses import Field, fields
from functools import cache
from pathlib import Path

import pytest

from docs import data_model
from watchllm_proxy import recorder_metrics
from watchllm_proxy.cli import app
from watchllm_proxy.housekeeping import HousekeepingStats
from watchllm_proxy.metering import MeteringStats
from watchllm_proxy.outcomes import CaptureCounts
from watchllm_proxy.proxy import metrics
from watchllm_proxy.recorder import RecorderStats
from watchllm_proxy.records import FlagKind, LinkKind, RunStatus, StepType
from watchllm_proxy.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
PAGES = [*PROJECT.glob("*.md"), *DOCS.rglob("*.md")]
SETTINGS: dict[str, Field[object]] = {setting.metadata["name"]: setting for setting in fields(Settings)}
COMMANDS = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
COMMANDS |= {str(group.typer_instance.info.name) for group in app.registered_groups if group.typer_instance}


def _page_name(path: Path) -> str:
    return str(path.relative_to(PROJECT))


# --- settings ---------------------------------------------------------------------------------------


def documented_settings() -> dict[str, str]:
    """Name and default of every row of docs/settings.md."""
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `(WATCHLLM_\w+)` \| ([^|]+) \|", page, flags=re.MULTILINE))


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    assert set(documented_settings()) == set(SETTINGS)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_the_documented_default_is_the_default(name: str) -> None:
    shown = documented_settings()[name].strip()
    default = SETTINGS[name].default
    if name == "WATCHLLM_DATA_DIR":
        assert shown == "the platform's data directory + `/watchllm`"
    else:
        words = {True: "on", False: "off"} if isinstance(default, bool) else {}
        assert shown == ("–" if default in {None, ()} else f"`{words.get(default, default)}`")


def test_pages_name_no_setting_that_does_not_exist() -> None:
    for page in PAGES:
        named = set(re.findall(r"\bWATCHLLM_(?!TEST_)[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
        assert named <= set(SETTINGS), _page_name(page)


# --- the data model ---------------------------------------------------------------------------------


def test_the_data_model_page_is_up_to_date() -> None:
    page = data_model.PAGE.read_text(encoding="utf-8")
    assert data_model.updated(page) == page, "run `make docs`"


@pytest.mark.parametrize("engine", ["clickhouse", "postgres"])
def test_every_table_and_column_is_explained(engine: str) -> None:
    schema = (PROJECT / "sql" / engine / "schema.sql").read_text(encoding="utf-8")
    tables = data_model.tables(engine)
    assert [table.name for table in tables] == re.findall(r"^CREATE TABLE (\w+)", schema, flags=re.MULTILINE)
    assert [table.name for table in tables if not table.about or not table.columns] == []
    unexplained = [
        f"{table.name}.{column.name}" for table in tables for column in table.columns if not column.meaning
    ]
    assert unexplained == [], "explain it in sql/*/schema.sql"


def test_metrics_that_pages_name_are_exposed() -> None:
    of_recorder = recorder_metrics.exposition(
        RecorderStats(), HousekeepingStats(retained_at_s=0.0), MeteringStats(reported_at_s=0.0)
    )
    exposed = (metrics.exposition({}, CaptureCounts()) + of_recorder).decode()
    for page in PAGES:
        for name in re.findall(r"\bwatchllm_(?!proxy\b|proxy/)[a-z]+_[a-z_]+\b", page.read_text(encoding="utf-8")):
            assert re.search(rf"^# TYPE {name} ", exposed, flags=re.MULTILINE), f"{_page_name(page)}: {name}"


# --- dependencies ---------------------------------------------------------------------------------


def test_every_dependency_has_its_reason_on_a_page() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (DOCS / "decisions" / "0001-dependencies.md").read_text(encoding="utf-8")
    names = [re.split(r"[<>=!~;\[ ]", requirement)[0] for requirement in project["dependencies"]]
    assert [name for name in names if f"`{name}`" not in page] == []


# --- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=_page_name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=_page_name)
def test_commands_that_pages_name_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"(?:`|^|\$ )watchllm ([a-z][a-z-]*)", text, flags=re.MULTILINE)) <= COMMANDS
    targets = set(re.findall(r"^([a-z-]+):.*##", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets | {"chromium"}


@pytest.mark.parametrize("page", PAGES, ids=_page_name)
def test_files_that_pages_point_at_exist(page: Path) -> None:
    named = re.findall(r"`((?:watchllm_proxy|tests|sql|docs|bench)/[\w./-]*)`", page.read_text(encoding="utf-8"))
    assert [path for path in named if not (PROJECT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=_page_name)
def test_tests_that_pages_name_exist(page: Path) -> None:
    named = re.findall(r"`(test_\w+(?:\.py)?)`", page.read_text(encoding="utf-8"))
    assert [name for name in named if name not in _tests()] == []


@cache
def _tests() -> set[str]:
    """The names of all tests and of their files."""
    files = list((PROJECT / "tests").rglob("test_*.py"))
    found = (
        re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE) for path in files
    )
    return {path.name for path in files}.union(*found)


@pytest.mark.parametrize("words", [StepType, RunStatus, LinkKind, FlagKind], ids=lambda words: words.__name__)
def test_the_glossary_knows_every_word_of_the_closed_sets(words: type[StepType]) -> None:
    glossary = (DOCS / "glossary.md").read_text(encoding="utf-8")
    assert [word for word in words if f"`{word}`" not in glossary] == []


@pytest.mark.parametrize("page", PAGES, ids=_page_name)
def test_pages_name_no_place_of_one_machine(page: Path) -> None:
    assert re.findall(r"/opt/wl|/work/|/root/", page.read_text(encoding="utf-8")) == []


def test_decisions_are_numbered_once_and_have_their_three_parts() -> None:
    pages = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    numbers = [page.name[:4] for page in pages]
    assert len(set(numbers)) == len(numbers)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert re.match(rf"# {page.name[:4]}\W", text), page.name
        assert re.search("context", text, flags=re.IGNORECASE), page.name
        assert re.search("choice|decision", text, flags=re.IGNORECASE), page.name
        assert re.search("given up|gave up|give up", text, flags=re.IGNORECASE), page.name
