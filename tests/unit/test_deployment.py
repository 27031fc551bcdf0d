"""The container files are read, not built (that needs an engine): what they name must exist and fit together."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from watchllm_proxy.capture.crash_buffer import HALF_BYTES, MIB
from watchllm_proxy.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]
SETTING_NAMES = {setting.metadata["name"] for setting in fields(Settings)}
OURS = {"proxy", "recorder", "console", "migrate"}


def instructions(path: Path) -> list[tuple[str, str]]:
    """(instruction, arguments) of a Dockerfile, continued lines joined, comments left out."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    return instructions(PROJECT / "Dockerfile")


@pytest.fixture(scope="module")
def compose() -> dict[str, dict]:
    return yaml.safe_load((PROJECT / "compose.yaml").read_text())


def copied_paths(dockerfile: list[tuple[str, str]]) -> list[str]:
    copies = [rest.split() for name, rest in dockerfile if name == "COPY" and not rest.startswith("--from")]
    return [path for words in copies for path in words[:-1]]


def test_all_that_the_image_copies_exists_and_reaches_the_builder(dockerfile: list[tuple[str, str]]) -> None:
    copied = copied_paths(dockerfile)
    let_in = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied
    assert [path for path in copied if not (PROJECT / path).exists()] == []
    assert set(copied) == let_in


def test_the_image_holds_all_that_the_wheel_is_built_from(dockerfile: list[tuple[str, str]]) -> None:
    needed = {"pyproject.toml", "README.md", "LICENSE", "sql", "watchllm_proxy"}
    assert needed <= set(copied_paths(dockerfile))


def test_the_image_runs_as_a_user_and_asks_for_its_health(dockerfile: list[tuple[str, str]]) -> None:
    last_stage = dockerfile[max(i for i, (name, _) in enumerate(dockerfile) if name == "FROM") :]
    by_name = dict(last_stage)
    assert by_name["USER"] not in {"root", "0"}
    assert "/healthz" in by_name["HEALTHCHECK"]
    assert by_name["VOLUME"] == "/data"


@pytest.mark.parametrize(("status", "is_well"), [(200, True), (503, False)])
def test_the_images_probe_tells_well_from_ill(
    dockerfile: list[tuple[str, str]], status: int, is_well: bool
) -> None:
    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    (health,) = [rest for name, rest in dockerfile if name == "HEALTHCHECK"]
    _, *words = json.loads(health.split("CMD", 1)[1])
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        serving = threading.Thread(target=server.handle_request)
        serving.start()
        environ = {"WATCHLLM_PORT": str(server.server_port), "http_proxy": "http://127.0.0.1:9"}
        ended = subprocess.run([sys.executable, *words], env=environ, check=False, timeout=30)
        serving.join()
    assert (ended.returncode == 0) == is_well


def test_the_image_sets_only_settings_that_exist(dockerfile: list[tuple[str, str]]) -> None:
    named = {word for name, rest in dockerfile if name == "ENV" for word in re.findall(r"(WATCHLLM_\w+)=", rest)}
    assert named
    assert named <= SETTING_NAMES


def test_compose_runs_every_part_and_both_stores(compose: dict[str, dict]) -> None:
    assert set(compose["services"]) == OURS | {"clickhouse", "postgres"}
    assert {name: compose["services"][name]["command"] for name in OURS} == {name: [name] for name in OURS}


def test_compose_sets_only_settings_that_exist(compose: dict[str, dict]) -> None:
    for name in OURS:
        assert set(compose["services"][name]["environment"]) <= SETTING_NAMES


def test_secrets_of_the_operator_reach_every_part_where_they_are_set_and_nothing_where_not(
    compose: dict[str, dict],
) -> None:
    """A name without a value is passed on; `${NAME:-}` would be an empty setting, which is refused."""
    for name in OURS:
        environment = compose["services"][name]["environment"]
        assert [environment[each] for each in ("WATCHLLM_UPSTREAM_API_KEY", "WATCHLLM_SECRET_KEY")] == [None, None]


def test_proxy_recorder_and_console_share_one_data_directory(compose: dict[str, dict]) -> None:
    for name in OURS:
        service = compose["services"][name]
        assert [volume.split(":")[1] for volume in service["volumes"]] == [
            service["environment"]["WATCHLLM_DATA_DIR"]
        ]
    assert len({compose["services"][name]["volumes"][0] for name in OURS}) == 1


def test_only_migrate_logs_in_as_the_owner_of_the_tables(compose: dict[str, dict]) -> None:
    services = compose["services"]
    owner = services["postgres"]["environment"]["POSTGRES_USER"]
    for name in OURS:
        environment = services[name]["environment"]
        assert f"//{owner}:" not in environment["WATCHLLM_DATABASE_URL"]
        assert ("WATCHLLM_OWNER_DATABASE_URL" in environment) == (name == "migrate")
    assert f"//{owner}:" in services["migrate"]["environment"]["WATCHLLM_OWNER_DATABASE_URL"]
    made = (PROJECT / "sql/postgres/application.sql").read_text()
    (login,) = re.findall(r"//(\w+):", services["recorder"]["environment"]["WATCHLLM_DATABASE_URL"])
    assert f"CREATE ROLE {login} LOGIN" in made
    (named,) = re.findall(r"\\getenv \w+ (\w+)", made)
    assert named in services["postgres"]["environment"]


def test_what_is_stopped_has_time_to_drain_and_memory_for_its_workers(compose: dict[str, dict]) -> None:
    for name in ("proxy", "recorder"):
        assert int(compose["services"][name]["stop_grace_period"].removesuffix("s")) > Settings().drain_timeout_s
    assert int(compose["services"]["proxy"]["shm_size"].removesuffix("m")) >= 4 * 2 * HALF_BYTES // MIB


def test_the_console_is_asked_where_it_listens(compose: dict[str, dict]) -> None:
    console = compose["services"]["console"]
    listens = Settings(data_dir=Path(console["environment"]["WATCHLLM_DATA_DIR"])).console_socket
    assert repr(str(listens)) in console["healthcheck"]["test"][-1]


def test_named_volumes_and_dependencies_are_declared(compose: dict[str, dict]) -> None:
    services = compose["services"]
    used = {volume.split(":")[0] for service in services.values() for volume in service["volumes"]}
    files = {volume for volume in used if volume.startswith(".")}
    assert used - files == set(compose["volumes"])
    assert [file for file in files if not (PROJECT / file).is_file()] == []
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)


def test_the_stores_say_when_they_are_ready_and_the_port_stays_on_loopback(compose: dict[str, dict]) -> None:
    for name in ("clickhouse", "postgres"):
        assert compose["services"][name]["healthcheck"]["test"]
        assert "ports" not in compose["services"][name]
    assert all(port.startswith("127.0.0.1:") for port in compose["services"]["proxy"]["ports"])


def test_no_password_is_written_into_compose(compose: dict[str, dict]) -> None:
    text = (PROJECT / "compose.yaml").read_text()
    assert re.findall(r"PASSWORD: (?!\$\{\w+:\?)", text) == []
    assert re.findall(r"://watchllm\w*:(?!\$\{\w+:\?)", text) == []


def test_pre_commit_needs_no_host() -> None:
    config = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    assert all(hook["language"] == "system" for repo in config["repos"] for hook in repo["hooks"])
