"""`watchllm prices` on a real Postgres."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from watchllm_proxy.cli import app

MODELS = {"data": [{"id": "acme/one", "pricing": {"prompt": "0.000001", "completion": "0.000002"}}]}


@pytest.fixture(autouse=True)
def installation(postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WATCHLLM_") and "TEST" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WATCHLLM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("WATCHLLM_DATABASE_URL", postgres_dsn)


@pytest.fixture
def models_url() -> Iterator[tuple[str, list[str | None]]]:
    """Serves the list; and the Authorization header of each request."""
    seen: list[str | None] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            is_there = self.path.startswith("/v1/models")
            self.send_response(200 if is_there else 404)
            self.end_headers()
            self.wfile.write(json.dumps(MODELS).encode() if is_there else b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/models", seen
    server.shutdown()
    thread.join()
    server.server_close()


def prices(*words: str) -> Result:
    return CliRunner().invoke(app, ["prices", *words])


def listed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(prices("list", "--json").stdout)
    return found


def test_a_price_is_set_listed_and_removed() -> None:
    done = prices("set", "My-Llama", "input=0.15", "output=0.60", "call=0.001")
    assert done.exit_code == 0, done.stderr
    (one,) = listed()["prices"]
    assert (one["model"], one["prices"]) == ("my-llama", {"input": "0.15", "output": "0.60", "call": "0.001"})
    assert "input=0.15" in prices("list").stdout
    assert prices("remove", "MY-LLAMA").exit_code == 0
    assert listed()["prices"] == []
    assert prices("remove", "my-llama").exit_code == 3


@pytest.mark.parametrize(
    "rates", [["input"], ["inptu=1"], ["input=dear"], ["input=-1"], ["input=1", "input=2"], ["cache_read=1"]]
)
def test_what_is_no_price_is_told_and_changes_nothing(rates: list[str]) -> None:
    done = prices("set", "m", *rates)
    assert done.exit_code == 2, done.output
    assert "price" in done.stderr or "number" in done.stderr
    assert listed()["prices"] == []


def test_a_price_of_an_unknown_project_is_not_found() -> None:
    assert prices("set", "m", "input=1", "--project", "nobody").exit_code == 3
    assert prices("list", "--project", "nobody").exit_code == 3


def test_a_list_is_taken_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    path.write_text(json.dumps(MODELS))
    done = prices("update", str(path))
    assert done.exit_code == 0, done.stderr
    (one,) = listed()["lists"]
    assert (one["provider"], one["models"], one["source"]) == ("openrouter", 1, "models.json")


def test_a_list_is_taken_from_an_address_without_a_key(
    models_url: tuple[str, list[str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, seen = models_url
    monkeypatch.setenv("WATCHLLM_UPSTREAM_API_KEY", "sk-or-secret")
    assert prices("update", f"{url}?token=secret").exit_code == 0
    (one,) = listed()["lists"]
    assert one["source"] == url.replace(url.split("/")[2], "127.0.0.1")
    assert seen == [None]


def test_what_is_no_list_leaves_the_one_before(tmp_path: Path, models_url: tuple[str, list[str | None]]) -> None:
    url, _ = models_url
    assert prices("update", url).exit_code == 0
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}/models"
    bad = tmp_path / "bad.json"
    bad.write_text('{"data": []}')
    for source in (str(bad), str(tmp_path / "missing.json"), nobody, url.replace("/v1/models", "/elsewhere")):
        failed = prices("update", source)
        assert failed.exit_code == 1, failed.output
        assert "watchllm:" in failed.stderr
    assert [one["models"] for one in listed()["lists"]] == [1]
