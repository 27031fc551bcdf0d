"""The stack that end-to-end tests share: started once, for starting takes seconds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import Stack
from tests.fake_openai import FakeOpenAI


@pytest.fixture(scope="session")
def running_stack() -> Iterator[Stack]:
    """`watchllm up` before a scripted upstream, until the session ends; then it must stop by itself.

    Not below pytest's own directory: any other pytest of the same user makes that unreadable for others, and
    as root Postgres runs as another user.
    """
    with tempfile.TemporaryDirectory(prefix="watchllm-e2e-") as directory, FakeOpenAI() as fake:
        stack = Stack(Path(directory) / "data", fake).start()
        try:
            yield stack
        finally:
            status = stack.stop()
        assert status == 0


@pytest.fixture
def stack(running_stack: Stack) -> Stack:
    """The shared stack, its upstream as new. Runs of earlier tests are there: compare with `run_ids()`."""
    running_stack.fake.reset()
    return running_stack
