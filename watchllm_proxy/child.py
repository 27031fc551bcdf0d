"""The way in for the children of `watchllm up`: python -m watchllm_proxy.child proxy NAME | core

No person starts these and there is no command line to read, so nothing of what those need is imported, and by a
proxy worker nothing of what is behind the log: what was killed is back sooner, and each keeps less in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
import sys
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

import uvloop

from watchllm_proxy import logs, settings
from watchllm_proxy.errors import WatchLLMError
from watchllm_proxy.lifecycle import make_data_dir
from watchllm_proxy.settings import Settings


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 1 after an error of ours, told in one line to the terminal of `up`."""
    what, name = arguments[0], arguments[-1]
    status = 0
    try:
        chosen = settings.load()
        log_to_file(chosen, name)
        with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
            uvloop.run(_worker(chosen, name) if what == "proxy" else _core(chosen))
    except* WatchLLMError as group:
        sys.stderr.write("".join(f"watchllm: {exc}\n" for exc in _all_of(group)))
        status = 1
    return status


def log_to_file(chosen: Settings, process: str) -> None:
    """Each process of `up` has its file, so that the terminal stays readable."""
    make_data_dir(chosen.data_dir)
    logs.configure(chosen.log_level, process, chosen.data_dir / "logs" / f"{process}.log")


def _import_server() -> None:
    """Before all else that is imported, which stays: until `lifecycle.settle_memory` nobody looks for garbage.

    aiohttp reads the certificates of all authorities when it is imported, twice, for a client over TLS. No child
    is that client, so this takes long for nothing. One that were would trust nobody.
    """
    gc.disable()
    with trusting_nobody():
        import aiohttp  # noqa: F401, PLC0415


@contextlib.contextmanager
def trusting_nobody() -> Iterator[None]:
    """What is made for TLS meanwhile knows no authorities."""
    ssl.SSLContext.set_default_verify_paths = lambda self: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        del ssl.SSLContext.set_default_verify_paths  # what it inherits shows again


def _worker(chosen: Settings, name: str) -> Coroutine[Any, Any, None]:
    _import_server()
    from watchllm_proxy.worker import run_proxy  # noqa: PLC0415

    return run_proxy(chosen, worker=name, is_child=True)


def _core(chosen: Settings) -> Coroutine[Any, Any, None]:
    """Recorder and console in one process: the embedded ClickHouse lives in one process only."""
    _import_server()
    from watchllm_proxy.core import run_core  # noqa: PLC0415

    return run_core(chosen, recorder=True, console=True, is_child=True)


def _all_of(group: BaseExceptionGroup[WatchLLMError]) -> list[BaseException]:
    return [
        each
        for exc in group.exceptions
        for each in (_all_of(exc) if isinstance(exc, BaseExceptionGroup) else [exc])
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
