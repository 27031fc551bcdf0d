"""The commands as a person types them, and an API server for them to ask."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import typer
from typer.testing import CliRunner, Result

from tests.unit.commands.fake_api import FakeApi
from watchllm_proxy.commands import comparing, doctor, keeping, reading


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.credentials.append(self.headers.get("Authorization"))
            status, body = fake.answer(self.path)
            if not status:
                self.close_connection = True
                return
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

        def date_time_string(self, timestamp: float | None = None) -> str:
            return fake.date or super().date_time_string(timestamp)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


Watchllm = Callable[..., Result]


@pytest.fixture
def watchllm() -> Watchllm:
    """`watchllm("runs", "--json")`: stdout and stderr apart, as in a pipe; bugs keep their traceback."""
    app = typer.Typer(pretty_exceptions_enable=False)
    reading.add_to(app)
    comparing.add_to(app)
    doctor.add_to(app)
    keeping.add_to(app)

    def invoke(*words: str) -> Result:
        result = CliRunner().invoke(app, list(words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke
