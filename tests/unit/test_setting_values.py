"""What a setting may be: what gets past the parsers is fit for the place it goes to."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from watchllm_proxy.errors import SettingsError
from watchllm_proxy.settings import Settings, load

NAMES = [setting.metadata["name"] for setting in fields(Settings)]
GARBAGE = ["", "   ", "a\nb", "\udcff"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", GARBAGE, ids=["nothing", "blanks", "two lines", "no text"])
def test_nothing_blanks_lines_and_what_is_no_text_are_refused_everywhere(name: str, value: str) -> None:
    """A variable that a shell or a compose file leaves empty must not mean "all addresses" or "this directory"."""
    with pytest.raises(SettingsError, match=rf"{name}: "):
        load({name: value})


@pytest.mark.parametrize("name", ["WATCHLLM_UPSTREAM_API_KEY", "WATCHLLM_KEY"])
@pytest.mark.parametrize("key", ["sk-canary\r\nX-Evil: 1", "sk-canary\n", "sk canary", "sk-canaré"])
def test_a_key_that_would_break_out_of_its_header_is_refused_and_not_shown(name: str, key: str) -> None:
    with pytest.raises(SettingsError, match="one word of printable ASCII") as caught:
        load({name: key})
    assert "canar" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [
        ("WATCHLLM_RETENTION_DAYS", "99999999999", 36_500),
        ("WATCHLLM_KEEP_RAW", "36501", 36_500),
        ("WATCHLLM_WORKERS", "100000", 256),
        ("WATCHLLM_LOG_MAX_BYTES", "1" * 30, 2**62),
        ("WATCHLLM_PRICE_UPDATE_HOURS", "1" * 30, 8784),
    ],
)
def test_a_number_that_no_date_machine_or_disk_holds_is_refused_with_its_limit(
    name: str, value: str, limit: int
) -> None:
    with pytest.raises(SettingsError, match=rf"{name}: must be at most {limit} "):
        load({name: value})
    assert load({name: str(limit)})


@pytest.mark.parametrize("seconds", ["1e-9", "1e300"])
def test_a_time_that_no_timer_keeps_is_refused(seconds: str) -> None:
    with pytest.raises(SettingsError, match=r"must be 0\.001 to 315360000 seconds"):
        load({"WATCHLLM_HEADER_TIMEOUT_S": seconds})


@pytest.mark.parametrize("url", ["https://host/my path", "https://host/modèles", "https://ho st/v1"])
def test_an_upstream_that_cannot_stand_in_a_request_line_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="percent-encode the rest"):
        load({"WATCHLLM_UPSTREAM_URL": url})


def test_an_upstream_may_have_a_name_in_any_script() -> None:
    assert load({"WATCHLLM_UPSTREAM_URL": "https://bücher.example/v1"}).upstream_url


def test_a_path_on_the_command_line_is_read_like_one_in_the_environment() -> None:
    assert load({}, data_dir=Path("runs")).data_dir == Path.cwd() / "runs"
