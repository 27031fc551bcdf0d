"""What every test stands on: a clean environment, and the recorded data beside the project where it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.fixtures.engines"]

PROJECT = Path(__file__).resolve().parents[1]
SHARED = PROJECT.parent / "shared"
"""Recorded traffic and traces, beside the project and never in it. Only tests marked `shared` may use it."""

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))

IN_CI = os.environ.get("CI") == "true"

# A busy machine is no failure: how long an example takes is never asserted (bench/ measures).
settings.register_profile("watchllm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("watchllm")


def _missing_for(item: pytest.Item) -> str | None:
    """What this test needs and the machine lacks, as a sentence."""
    if item.get_closest_marker("shared") and not (SHARED / "data").is_dir():
        return f"needs the recorded data in {SHARED / 'data'}"
    if item.get_closest_marker("browser") and not CHROMIUM.is_file():
        return f"needs {CHROMIUM}: as root, `make chromium` installs it"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip with the reason on a developer's machine. In CI nothing may be missing: there it fails."""
    missing = _missing_for(item)
    if missing is None:
        return
    if IN_CI:
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the developer's own settings, or sends loopback traffic through an HTTP proxy."""
    for name in list(os.environ):
        is_ours = name.startswith("WATCHLLM_") and not name.startswith("WATCHLLM_TEST_")
        if is_ours or name in {"NO_COLOR", "FORCE_COLOR"}:
            monkeypatch.delenv(name)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")


@pytest.fixture(scope="session")
def shared() -> Path:
    """`../shared`; for tests marked `shared`."""
    return SHARED
