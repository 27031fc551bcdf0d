"""Settings: one table, everything wrong told at once, secrets never shown."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from watchllm_proxy import settings
from watchllm_proxy.errors import SettingsError
from watchllm_proxy.settings import Settings


def problems_of(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings.load(environ)
    return caught.value.problems


def test_without_any_setting_it_listens_on_loopback_with_embedded_stores() -> None:
    loaded = settings.load({})
    assert (loaded.host, loaded.port, loaded.is_loopback) == ("127.0.0.1", 8787, True)
    assert loaded.clickhouse_url is None
    assert loaded.database_url is None
    assert loaded.allow_anonymous is None


def test_everything_wrong_is_reported_at_once_by_name() -> None:
    wrong = {
        "WATCHLLM_PORT": "many",
        "WATCHLLM_WORKERS": "0",
        "WATCHLLM_IDLE_TIMEOUT_S": "-1",
        "WATCHLLM_UPSTREAM_URL": "ftp://example.test",
        "WATCHLLM_ALLOW_ANONYMOUS": "perhaps",
        "WATCHLLM_LOG_LEVEL": "chatty",
        "WATCHLLM_NO_SUCH_THING": "1",
    }
    problems = problems_of(wrong)
    assert sorted(problem.partition(":")[0] for problem in problems) == sorted(wrong)


def test_a_misspelt_setting_is_refused_and_other_variables_are_left_alone() -> None:
    assert problems_of({"WATCHLLM_FRUIT": "1"}) == ["WATCHLLM_FRUIT: there is no such setting"]
    (misspelt,) = problems_of({"WATCHLLM_UPSTREM_URL": "1"})
    assert misspelt.endswith("; did you mean WATCHLLM_UPSTREAM_URL?")
    assert settings.load({"PORT": "x", "HOME": "/", "WATCHLLM_TEST_CLICKHOUSE_URL": "x"}).port == 8787


SECRETS = {
    "WATCHLLM_UPSTREAM_API_KEY": "sk-or-canary",
    "WATCHLLM_CLICKHOUSE_URL": "clickhouse://user:canary@host:9000/db",
    "WATCHLLM_DATABASE_URL": "postgresql://user:canary@host/db",
}


def test_secrets_are_hidden_in_repr() -> None:
    assert "canary" not in repr(settings.load(SECRETS))


@pytest.mark.parametrize("name", ["WATCHLLM_CLICKHOUSE_URL", "WATCHLLM_DATABASE_URL"])
def test_a_wrong_secret_is_named_but_not_shown(name: str) -> None:
    (problem,) = problems_of({name: "canary-password@host"})
    assert problem.startswith(f"{name}: ")
    assert "canary" not in problem


@pytest.mark.parametrize("name", ["WATCHLLM_PORT", "WATCHLLM_WORKERS", "WATCHLLM_KEEP_RAW"])
def test_a_number_that_is_none_is_told_in_words(name: str) -> None:
    assert problems_of({name: "many"}) == [f"{name}: must be a whole number (it is 'many')"]


def test_a_wrong_value_that_is_no_secret_is_shown() -> None:
    assert "99999" in problems_of({"WATCHLLM_PORT": "99999"})[0]


def test_an_upstream_url_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(SettingsError) as caught:
        settings.load({"WATCHLLM_UPSTREAM_URL": "https://user:hunter2@host/v1"})
    assert "WATCHLLM_UPSTREAM_API_KEY" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://", "openrouter.ai/api/v1", "https://host:port/v1", "https://host/v1?x=1"])
def test_an_upstream_that_is_no_plain_address_is_refused(url: str) -> None:
    assert problems_of({"WATCHLLM_UPSTREAM_URL": url})[0].startswith("WATCHLLM_UPSTREAM_URL: ")


def test_an_upstream_keeps_its_path_and_loses_a_final_slash() -> None:
    assert settings.load({"WATCHLLM_UPSTREAM_URL": "https://host/api/v1/"}).upstream_url == "https://host/api/v1"


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("http://127.0.0.1:8787/v1", {}),
        ("http://LOCALHOST:8787/v1", {}),
        ("http://[::1]:9000/v1", {"WATCHLLM_HOST": "0.0.0.0", "WATCHLLM_PORT": "9000"}),
        ("http://proxy.example:80/v1", {"WATCHLLM_HOST": "proxy.example", "WATCHLLM_PORT": "80"}),
        ("https://runs.example.com/v1", {"WATCHLLM_PUBLIC_URL": "https://runs.example.com:443"}),
    ],
)
def test_a_proxy_that_would_forward_to_itself_is_refused(url: str, other: dict[str, str]) -> None:
    assert problems_of({"WATCHLLM_UPSTREAM_URL": url, **other}) == [
        "WATCHLLM_UPSTREAM_URL: this is the proxy's own address: a call would go round and round"
    ]


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("http://127.0.0.1:8788/v1", {}),
        ("http://127.0.0.1:8787/api/v1", {}),
        ("http://192.0.2.1:8787/v1", {"WATCHLLM_HOST": "0.0.0.0"}),
        ("http://127.0.0.1:8787/v1", {"WATCHLLM_HOST": "192.0.2.7"}),
        ("https://api.example.com/v1", {"WATCHLLM_PUBLIC_URL": "http://api.example.com"}),
    ],
)
def test_another_proxy_further_up_is_a_fine_upstream(url: str, other: dict[str, str]) -> None:
    assert settings.load({"WATCHLLM_UPSTREAM_URL": url, **other}).upstream_url == url


@pytest.mark.parametrize(
    ("raw", "meant"), [("1", True), ("on", True), (" Yes ", True), ("0", False), ("off", False), ("FALSE", False)]
)
def test_a_flag_is_on_or_off_in_the_usual_spellings(raw: str, meant: bool) -> None:
    assert settings.load({"WATCHLLM_ALLOW_ANONYMOUS": raw}).allow_anonymous is meant


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-3", "", "soon"])
def test_a_time_limit_is_a_number_of_seconds_above_zero(seconds: str) -> None:
    assert "must be a number of seconds above 0" in problems_of({"WATCHLLM_IDLE_TIMEOUT_S": seconds})[0]


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "192.0.2.7", "proxy.example")),
    ],
)
def test_loopback_is_told_by_the_address_alone(host: str, is_loopback: bool) -> None:
    assert settings.load({"WATCHLLM_HOST": host}).is_loopback is is_loopback


def test_what_the_command_line_says_wins_over_the_environment() -> None:
    loaded = settings.load({"WATCHLLM_PORT": "1000", "WATCHLLM_HOST": "::1"}, port=2000, host=None)
    assert (loaded.port, loaded.host) == (2000, "::1")


def test_what_the_command_line_says_is_checked_like_the_environment() -> None:
    with pytest.raises(SettingsError, match=r"WATCHLLM_UPSTREAM_URL: .* \(it is 'ftp://x'\)"):
        settings.load({}, upstream_url="ftp://x")


def test_a_data_directory_is_made_absolute_and_a_tilde_is_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert settings.load({"WATCHLLM_DATA_DIR": "~/runs"}).data_dir == Path("/home/someone/runs")
    assert settings.load({"WATCHLLM_DATA_DIR": "runs"}).data_dir == Path.cwd() / "runs"


def test_settings_are_frozen_and_each_has_a_name_and_a_help_text() -> None:
    loaded = settings.load({})
    with pytest.raises(FrozenInstanceError):
        loaded.port = 1  # type: ignore[misc]
    names = [setting.metadata["name"] for setting in fields(Settings)]
    assert len(set(names)) == len(names)
    for setting in fields(Settings):
        assert setting.metadata["name"].startswith("WATCHLLM_")
        assert setting.metadata["help"].endswith(".")


def test_secrets_are_read_newest_first_and_reach_children_as_they_were() -> None:
    old, new = "o" * 44, "n" * 44
    chosen = settings.load({"WATCHLLM_SECRET_KEY": f"{new}, {old}"})
    assert chosen.secret_keys == (new, old)
    assert new not in repr(chosen)
    assert settings.child_environment(chosen)["WATCHLLM_SECRET_KEY"] == f"{new},{old}"
    assert "WATCHLLM_SECRET_KEY" not in settings.child_environment(settings.load({}))


@pytest.mark.parametrize("raw", ["", ",", "short", "n" * 44 + ",short"])
def test_a_secret_that_can_be_guessed_is_refused_and_not_shown(raw: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings.load({"WATCHLLM_SECRET_KEY": raw})
    assert "WATCHLLM_SECRET_KEY: must be a random secret" in str(refused.value)
    assert "short" not in str(refused.value)
