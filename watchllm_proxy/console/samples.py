"""The three sample runs, by name: for demos, tests, and a look at the debugger before the first request."""

from __future__ import annotations

from watchllm_proxy.console.loading import LoadedRun

NAMES = ("normal", "loop", "high-cost")


def sample_run(name: str) -> LoadedRun | None:
    """None for a name that is not one of `NAMES`."""
    if name not in NAMES:
        return None
    from watchllm_proxy.insights import fixtures  # noqa: PLC0415 - rarely asked for, and no start waits for it

    run, steps, flags, explanations = fixtures.fixture(name)
    return LoadedRun(run, flags, steps, explanations)
