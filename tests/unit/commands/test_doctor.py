"""`doctor` with real files, locks and sockets: each thing that can be wrong is made wrong."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
from pathlib import Path

import pytest

from tests.unit.commands.conftest import Watchllm
from tests.unit.commands.fake_api import FakeApi

WELL = {"/healthz": {"status": "ok"}, "/readyz": {"status": "ok", "checks": {"capture": {"status": "ok"}}}}
Findings = dict[str, list[dict[str, str]]]


@pytest.fixture
def machine(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """A machine on which all is well: the fake API is both the server and the upstream."""
    tmp_path.chmod(stat.S_IRWXU)
    api.routes.update(WELL)
    host, _, port = api.url.removeprefix("http://").partition(":")
    monkeypatch.setenv("WATCHLLM_HOST", host)
    monkeypatch.setenv("WATCHLLM_PORT", port)
    monkeypatch.setenv("WATCHLLM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("WATCHLLM_UPSTREAM_URL", f"{api.url}/api/v1")
    monkeypatch.setenv("WATCHLLM_LOG_MAX_BYTES", "1")
    return api


def examined(watchllm: Watchllm) -> tuple[int, Findings]:
    """Exit status and the findings by area."""
    result = watchllm("doctor", "--json")
    by_area: Findings = {}
    for finding in json.loads(result.stdout)["findings"]:
        by_area.setdefault(finding["area"], []).append(finding)
    return result.exit_code, by_area


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_where_all_is_well_it_says_so_and_ends_with_status_0(machine: FakeApi, watchllm: Watchllm) -> None:
    status, areas = examined(watchllm)
    assert status == 0
    assert {finding["level"] for findings in areas.values() for finding in findings} == {"ok"}
    assert set(areas) == {
        "settings",
        "data",
        "disk",
        "limits",
        "server",
        "clickhouse",
        "postgres",
        "upstream",
        "clock",
    }


def test_a_person_reads_marks_and_what_to_do_next(machine: FakeApi, watchllm: Watchllm) -> None:
    check = {"status": "degraded", "detail": "Postgres is away \x1b[2J"}
    machine.routes["/readyz"] = {"status": "degraded", "checks": {"recorder": check, "console": {"status": "ok"}}}
    result = watchllm("doctor")
    assert "✓  settings" in result.stdout
    assert "!  server     recorder: Postgres is away" in result.stdout
    assert "→ Requests pass." in result.stdout
    assert result.stderr.splitlines()[-1] == f"open {machine.url}/welcome"
    assert "\x1b" not in result.stdout
    assert result.exit_code == 0, "a warning is no failure"


def test_since_when_a_store_is_away_and_when_it_is_tried_again_is_told(
    machine: FakeApi, watchllm: Watchllm
) -> None:
    away = {
        "status": "degraded",
        "detail": "away",
        "since": "2026-11-22T10:00:00Z",
        "tries": 12,
        "retry_in_s": 3.24,
    }
    machine.routes["/readyz"] = {"status": "degraded", "checks": {"clickhouse": away}}
    _, areas = examined(watchllm)
    (told,) = (finding["text"] for finding in areas["server"] if "clickhouse" in finding["text"])
    assert told == "clickhouse: away (since 2026-11-22T10:00:00Z, tried 12 times, again in 3.2 s)"


def test_a_server_that_is_draining_is_pointed_at(machine: FakeApi, watchllm: Watchllm) -> None:
    machine.routes["/readyz"] = (503, {"status": "stopping", "checks": {}})
    _, areas = examined(watchllm)
    assert any("stopping" in finding["text"] for finding in areas["server"])


def test_findings_come_one_a_line_for_programs(machine: FakeApi, watchllm: Watchllm) -> None:
    lines = [json.loads(line) for line in watchllm("doctor", "--ndjson").stdout.splitlines()]
    assert all(set(line) == {"area", "level", "text", "next_step"} for line in lines)
    assert len(lines) >= 9


def test_it_asks_the_upstream_without_a_key_and_changes_nothing(
    machine: FakeApi, watchllm: Watchllm, tmp_path: Path
) -> None:
    examined(watchllm)
    assert {path for path, _ in machine.requests} == {"/healthz", "/readyz", "/api/v1/models"}
    assert list(tmp_path.iterdir()) == []


# --- settings ---------------------------------------------------------------------------------------


def test_every_wrong_setting_is_named_at_once(watchllm: Watchllm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHLLM_PORT", "many")
    monkeypatch.setenv("WATCHLLM_WORKERS", "0")
    monkeypatch.setenv("WATCHLLM_PROT", "1")
    status, areas = examined(watchllm)
    assert status == 1
    named = [finding["text"].partition(":")[0] for finding in areas["settings"]]
    assert sorted(named) == ["WATCHLLM_PORT", "WATCHLLM_PROT", "WATCHLLM_WORKERS"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"WATCHLLM_UPSTREAM_URL": "http://proxy.invalid/v1"}, "unencrypted"),
        ({"WATCHLLM_HOST": "0.0.0.0", "WATCHLLM_ALLOW_ANONYMOUS": "on"}, "without a key"),
    ],
)
def test_settings_that_weaken_a_guarantee_are_pointed_at(
    changed: dict[str, str], words: str, machine: FakeApi, watchllm: Watchllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    _, areas = examined(watchllm)
    assert any(finding["level"] == "warning" and words in finding["text"] for finding in areas["settings"])


# --- the machine ------------------------------------------------------------------------------------


def test_a_data_directory_that_is_a_file_is_a_problem(
    machine: FakeApi, watchllm: Watchllm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WATCHLLM_DATA_DIR", str(tmp_path / "file"))
    status, areas = examined(watchllm)
    assert status == 1
    assert areas["data"][0]["level"] == "problem"


def test_a_data_directory_that_is_not_there_yet_is_fine(
    machine: FakeApi, watchllm: Watchllm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WATCHLLM_DATA_DIR", str(tmp_path / "deep" / "down"))
    status, areas = examined(watchllm)
    assert status == 0
    assert "the first start makes it" in areas["data"][0]["text"]


def test_a_data_directory_open_to_others_is_pointed_at(
    machine: FakeApi, watchllm: Watchllm, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    _, areas = examined(watchllm)
    assert [finding["next_step"] for finding in areas["data"] if finding["level"] == "warning"] == [
        f"chmod 700 '{tmp_path}'"
    ]


def test_a_data_directory_that_others_can_only_pass_through_is_private(
    machine: FakeApi, watchllm: Watchllm, tmp_path: Path
) -> None:
    tmp_path.chmod(0o711)  # as `up` makes it for Postgres' own user when root has no access lists
    _, areas = examined(watchllm)
    assert {finding["level"] for finding in areas["data"]} == {"ok"}


@pytest.mark.parametrize("lock", ["clickhouse/owner.lock", "capture/w0/lock"])
def test_whoever_holds_the_data_directory_is_named(
    lock: str, machine: FakeApi, watchllm: Watchllm, tmp_path: Path
) -> None:
    path = tmp_path / lock
    path.parent.mkdir(parents=True)
    with path.open("w") as held:
        assert not any("in use" in finding["text"] for finding in examined(watchllm)[1]["data"])
        fcntl.flock(held, fcntl.LOCK_EX)
        _, areas = examined(watchllm)
        assert any(f"(pid {os.getpid()})" in finding["text"] for finding in areas["data"])


def test_a_disk_too_small_for_the_capture_logs_is_pointed_at(
    machine: FakeApi, watchllm: Watchllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHLLM_LOG_MAX_BYTES", str(10**18))
    _, areas = examined(watchllm)
    assert [finding["level"] for finding in areas["disk"]] == ["warning"]


def test_a_limit_on_open_files_below_the_admission_limit_is_pointed_at(
    machine: FakeApi, watchllm: Watchllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHLLM_MAX_REQUESTS", str(10**12))
    _, areas = examined(watchllm)
    assert "ulimit -Hn" in areas["limits"][0]["next_step"]


# --- the port and the server ------------------------------------------------------------------------


def test_a_server_that_is_not_running_is_a_warning_with_the_command(
    machine: FakeApi, watchllm: Watchllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHLLM_PORT", str(free_port()))
    status, areas = examined(watchllm)
    assert status == 0
    assert areas["port"][0]["level"] == "ok"
    assert areas["server"][0]["next_step"] == "watchllm up"


def test_another_program_on_the_port_is_a_problem_and_named(
    machine: FakeApi, watchllm: Watchllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.routes["/healthz"] = (200, b"<html>hello</html>")
    status, areas = examined(watchllm)
    assert status == 1
    assert f"(pid {os.getpid()})" in areas["port"][0]["text"]


def test_a_port_that_takes_connections_and_says_nothing_of_http_is_taken(
    machine: FakeApi, watchllm: Watchllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("WATCHLLM_PORT", str(mute.getsockname()[1]))
        monkeypatch.setattr("watchllm_proxy.commands.doctor.SERVER_TIMEOUT_S", 0.1)
        status, areas = examined(watchllm)
    assert status == 1
    assert "is held" in areas["port"][0]["text"]


# --- the upstream and the clock ---------------------------------------------------------------------


def test_an_upstream_that_refuses_is_a_problem_and_the_clock_is_told_anyway(
    machine: FakeApi, watchllm: Watchllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHLLM_UPSTREAM_URL", f"http://127.0.0.1:{free_port()}/v1")
    status, areas = examined(watchllm)
    assert status == 1
    assert "cannot be reached: Connection refused" in areas["upstream"][0]["text"]
    assert areas["clock"][0]["level"] == "ok"


def test_an_upstream_without_an_address_points_at_dns(
    machine: FakeApi, watchllm: Watchllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHLLM_UPSTREAM_URL", "https://no-such-host.invalid/v1")
    status, areas = examined(watchllm)
    assert status == 1
    assert "DNS" in areas["upstream"][0]["next_step"]


@pytest.mark.parametrize(
    ("date", "direction"),
    [("Wed, 01 Jan 2020 00:00:00 GMT", "ahead of"), ("Fri, 01 Jan 2100 00:00:00 GMT", "behind")],
)
def test_a_clock_far_from_the_upstreams_is_pointed_at(
    date: str, direction: str, machine: FakeApi, watchllm: Watchllm
) -> None:
    machine.date = date
    _, areas = examined(watchllm)
    assert areas["clock"][0]["level"] == "warning"
    assert direction in areas["clock"][0]["text"]


# --- the stores -------------------------------------------------------------------------------------


def test_servers_that_are_away_are_problems_and_no_password_is_shown(
    machine: FakeApi, watchllm: Watchllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("WATCHLLM_CLICKHOUSE_URL", f"clickhouse://user:canary@127.0.0.1:{port}/events")
    monkeypatch.setenv("WATCHLLM_DATABASE_URL", f"postgresql://user:canary@127.0.0.1:{port}/runs")
    monkeypatch.setenv("WATCHLLM_UPSTREAM_API_KEY", "sk-canary")
    status, areas = examined(watchllm)
    assert status == 1
    for area, database in (("clickhouse", "events"), ("postgres", "runs")):
        (finding,) = areas[area]
        assert finding["level"] == "problem"
        assert f"127.0.0.1:{port}/{database}" in finding["text"]
    assert "canary" not in json.dumps(areas)
