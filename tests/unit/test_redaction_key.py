"""The secret behind the tags: of the setting, or a private file that is made once and never over another."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from watchllm_proxy.enrich.redaction.tags import KEY_BYTES
from watchllm_proxy.errors import SettingsError
from watchllm_proxy.redaction_key import redaction_key
from watchllm_proxy.settings import Settings, load


def settings(folder: Path, key: str | None = None) -> Settings:
    return Settings(data_dir=folder / "data", redaction_key=key)


def test_the_first_start_makes_a_file_for_its_owner_alone_and_later_ones_read_it(tmp_path: Path) -> None:
    key = redaction_key(settings(tmp_path))
    path = settings(tmp_path).redaction_key_file
    assert len(key) == KEY_BYTES
    assert path.stat().st_mode & 0o777 == 0o600
    assert redaction_key(settings(tmp_path)) == key
    assert os.listdir(path.parent) == [path.name]


def test_processes_that_start_at_once_agree_on_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: redaction_key(settings(tmp_path)), range(8)))) == 1


def test_a_setting_goes_before_the_file_and_makes_none(tmp_path: Path) -> None:
    first, second = (redaction_key(settings(tmp_path, key)) for key in ("one secret", "another"))
    assert first != second
    assert len(first) == KEY_BYTES
    assert not settings(tmp_path).redaction_key_file.exists()


@pytest.mark.parametrize("content", ["", "short", "zz" * KEY_BYTES, "00" * KEY_BYTES + "00"])
def test_a_file_that_holds_no_key_is_told_and_not_replaced(tmp_path: Path, content: str) -> None:
    path = settings(tmp_path).redaction_key_file
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(SettingsError, match="holds no redaction key"):
        redaction_key(settings(tmp_path))
    assert path.read_text() == content


def test_the_mode_is_one_of_three_and_the_secret_is_not_shown() -> None:
    assert load({}).redact == "all"
    assert load({"WATCHLLM_REDACT": "Secrets"}).redact == "secrets"
    with pytest.raises(SettingsError, match="must be off, secrets or all"):
        load({"WATCHLLM_REDACT": "some"})
    assert "hush" not in repr(load({"WATCHLLM_REDACTION_KEY": "hush" * 8}))


@pytest.mark.parametrize("weak", ["", " " * 40, "hush"])
def test_a_secret_that_anybody_could_guess_is_refused(weak: str) -> None:
    with pytest.raises(SettingsError, match="WATCHLLM_REDACTION_KEY: must be a random secret") as caught:
        load({"WATCHLLM_REDACTION_KEY": weak})
    assert not weak.strip() or weak not in str(caught.value)
