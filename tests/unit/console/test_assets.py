from __future__ import annotations

from pathlib import Path

import pytest

from watchllm_proxy.console.assets import Assets


def test_the_address_changes_with_any_content(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("1")
    (tmp_path / "b.css").write_text("2")
    before = Assets(tmp_path).path_of("a.js")
    assert Assets(tmp_path).path_of("a.js") == before
    (tmp_path / "b.css").write_text("3")
    assert Assets(tmp_path).path_of("a.js") != before


def test_a_file_of_another_version_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("1")
    assets = Assets(tmp_path)
    assert assets.find("0" * 16, "a.js") is None
    assert assets.find(assets.version, "../a.js") is None
    found = assets.find(assets.version, "a.js")
    assert found is not None
    assert found.content == b"1"


def test_a_template_cannot_name_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        Assets(tmp_path).path_of("a.js")
