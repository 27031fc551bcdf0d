"""The stack that end-to-end tests share: started once, for starting takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack
from tests.fake_openai import FakeOpenAI


@pytest.fixture(scope="session")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`watchllm up` before a scripted upstream, until the session ends; then it must stop by itself."""
    with FakeOpenAI() as fake:
        stack = Stack(tmp_path_factory.mktemp("stack") / "data", fake).start()
        yield stack
        assert stack.stop() == 0


@pytest.fixture
def stack(running_stack: Stack) -> Stack:
    """The shared stack, its upstream as new. Runs of earlier tests are there: compare with `run_ids()`."""
    running_stack.fake.reset()
    return running_stack
