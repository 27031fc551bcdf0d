"""`export --as`: one run from the running server, as it comes."""

from __future__ import annotations

import io
import socket
import threading
from pathlib import Path

import pytest

from tests.unit.commands.conftest import Watchllm
from tests.unit.commands.fake_api import HANG_UP, FakeApi, debug, run_list, run_summary
from watchllm_proxy.commands.api_client import ApiClient, CommandFailed
from watchllm_proxy.commands.taking import RunForm, copy_run

RUN = "7q2k9fh4"
BODY = "# A run é\n".encode() * 100_000  # more than one piece


@pytest.fixture
def one_run(api: FakeApi) -> FakeApi:
    api.routes["/api/agent-runs"] = run_list(run_summary(RUN))
    api.routes[f"/api/agent-runs/{RUN}/debug"] = debug(RUN)
    for form in ("md", "json", "ndjson"):
        api.routes[f"/runs/{RUN}.{form}"] = (200, form.encode() + BODY)
    return api


@pytest.mark.parametrize(("form", "query"), [("md", {}), ("ndjson", {}), ("json", {"bodies": "on"})])
def test_a_run_comes_out_byte_for_byte(
    one_run: FakeApi, watchllm: Watchllm, form: str, query: dict[str, str]
) -> None:
    result = watchllm("export", "--run", "7q2k", "--as", form, "--url", one_run.url)
    assert (result.exit_code, result.stdout_bytes) == (0, form.encode() + BODY)
    assert f"{len(form) + len(BODY):,} bytes of {RUN} as {form}." in result.stderr
    assert f"open {one_run.url}/runs/{RUN}" in result.stderr
    assert one_run.requests[-1] == (f"/runs/{RUN}.{form}", query)


def test_into_a_new_file_for_its_owner_alone(one_run: FakeApi, watchllm: Watchllm, tmp_path: Path) -> None:
    file = tmp_path / "run.md"
    words = ["export", "--run", RUN, "--as", "md", "--to", str(file), "--url", one_run.url]
    result = watchllm(*words)
    assert (result.exit_code, result.stdout, file.read_bytes()) == (0, "", b"md" + BODY)
    assert file.stat().st_mode & 0o777 == 0o600
    assert watchllm(*words).exit_code == 2


@pytest.mark.parametrize(
    "words",
    [["--as", "md"], ["--as", "md", "--run", "a", "--run", "b"], ["--as", "md", "--run", "a", "--project", "p"]],
)
def test_what_does_not_go_together_is_refused(one_run: FakeApi, watchllm: Watchllm, words: list[str]) -> None:
    assert watchllm("export", *words, "--url", one_run.url).exit_code == 2
    assert one_run.requests == []


def test_an_address_without_a_form_is_refused(watchllm: Watchllm) -> None:
    assert watchllm("export", "--url", "http://127.0.0.1:9").exit_code == 2


def test_an_unknown_run_is_not_found_and_no_file_is_made(
    one_run: FakeApi, watchllm: Watchllm, tmp_path: Path
) -> None:
    file = tmp_path / "run.md"
    words = ["export", "--run", "nobody", "--as", "md", "--to", str(file), "--url", one_run.url]
    assert (watchllm(*words).exit_code, file.exists()) == (3, False)


def test_an_answer_that_does_not_come_is_an_error(one_run: FakeApi, watchllm: Watchllm) -> None:
    one_run.routes[f"/runs/{RUN}.md"] = HANG_UP
    result = watchllm("export", "--run", RUN, "--as", "md", "--url", one_run.url)
    assert (result.exit_code, result.stdout) == (1, "")
    one_run.routes[f"/runs/{RUN}.md"] = (402, {"error": {"message": "The plan has no debugger.", "type": "x"}})
    result = watchllm("export", "--run", RUN, "--as", "md", "--url", one_run.url)
    assert (result.exit_code, "The plan has no debugger." in result.stderr) == (1, True)


def test_an_answer_that_breaks_off_is_told() -> None:
    """A piece came, and then nothing more of what was promised."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = threading.Thread(target=_break_off, args=(listener,))
        answering.start()
        client = ApiClient(f"http://127.0.0.1:{listener.getsockname()[1]}")
        out = io.BytesIO()
        with pytest.raises(CommandFailed, match="broke off"):
            copy_run(client, RUN, RunForm.MARKDOWN, out, lambda count: None)
        answering.join()
    assert out.getvalue() in (b"", b"# A run")


def _break_off(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n# A run\r\n")
