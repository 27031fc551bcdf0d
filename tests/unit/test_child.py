"""The children of `up` bring along what they need, and nothing of what a person or another part needs."""

from __future__ import annotations

import ssl
import subprocess
import sys

import pytest

from watchllm_proxy import child
from watchllm_proxy.errors import AlreadyRunning

OF_NOBODY = {"numpy", "pyarrow", "rich", "tiktoken"}
OF_COMMANDS = OF_NOBODY | {"typer", "watchllm_proxy.cli", "watchllm_proxy.commands"}
OF_WHAT_IS_BEHIND_THE_LOG = {"asyncpg", "chdb", "clickhouse_driver", "jinja2", "watchllm_proxy.store"}


@pytest.mark.parametrize(
    ("part", "foreign"), [("worker", OF_COMMANDS | OF_WHAT_IS_BEHIND_THE_LOG), ("core", OF_COMMANDS)]
)
def test_what_a_child_has_no_use_for_is_not_imported(part: str, foreign: set[str]) -> None:
    program = f"import sys, watchllm_proxy.child, watchllm_proxy.{part}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & foreign == set()


def test_an_error_of_ours_is_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load() -> None:
        of_one = ExceptionGroup("of one", [AlreadyRunning("one")])
        raise ExceptionGroup("of tasks", [of_one, AlreadyRunning("two")])

    monkeypatch.setattr("watchllm_proxy.settings.load", load)
    assert child.main(["core"]) == 1
    assert capsys.readouterr().err == "watchllm: one\nwatchllm: two\n"


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("watchllm_proxy.settings.load", load)
    with pytest.raises(ZeroDivisionError):
        child.main(["proxy", "w0"])


def test_nobody_is_trusted_by_what_is_made_meanwhile_and_the_system_again_afterwards() -> None:
    with child.trusting_nobody():
        assert ssl.create_default_context().get_ca_certs() == []
    made = ssl.create_default_context()
    assert "set_default_verify_paths" not in vars(ssl.SSLContext)
    assert made.verify_mode is ssl.CERT_REQUIRED
