"""What must never stand in a script or a style sheet, and that all of it is there without a network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from watchllm_proxy import console

STATIC = sorted((Path(console.__file__).parent / "static").iterdir())
SCRIPTS = [path for path in STATIC if path.suffix == ".js"]
SINKS = (
    "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "createContextualFragment",
    "srcdoc", "setHTMLUnsafe", "eval(", "new Function", "import(", "trustedTypes",
)  # fmt: skip
MAX_LINES = 3000


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_script_reads_a_string_as_html_or_code(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert [sink for sink in SINKS if sink in text] == []
    assert not re.search(r"setTimeout\(\s*['\"`]", text)


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.name != "dom.js"], ids=lambda path: path.name)
def test_only_dom_js_makes_elements(script: Path) -> None:
    assert "createElement" not in script.read_text(encoding="utf-8")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_checked_and_import_only_each_other(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert text.startswith("// @ts-check")
    imported = re.findall(r"from '([^']+)'", text)
    assert all((script.parent / name).is_file() and name.startswith("./") for name in imported)


@pytest.mark.parametrize("path", STATIC, ids=lambda path: path.name)
def test_nothing_is_fetched_from_elsewhere(path: Path) -> None:
    addresses = re.findall(r"https?://[^\s\"')]+|@import (?!{)|url\([^)]*\)", path.read_text(encoding="utf-8"))
    assert [address for address in addresses if not address.startswith("http://www.w3.org/")] == []


def test_the_scripts_are_few_enough_to_need_no_framework() -> None:
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in SCRIPTS) < MAX_LINES
