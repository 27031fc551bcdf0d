"""Our errors, one tree. Classes differ only where a caller acts differently.

    WatchLLMError
    ├── SettingsError          wrong settings, all of them at once; exit status 2
    ├── AlreadyRunning         another process holds the data directory, the port or a lock; names it
    ├── StoreError             a store said no
    │   ├── StoreUnavailable   down, slow, restarting, full: wait and try the same batch again
    │   └── StoreRejected      it will never take this: find the record and dead-letter it
    ├── CaptureLogError        the capture log cannot be written or read (the proxy sheds, never fails)
    └── UpstreamError          forwarding failed; carries the ExchangeEnd, becomes 502/504 or a cut answer

No error of ours reaches a caller of the forward path as anything but an OpenAI-shaped answer.
"""

from __future__ import annotations

from watchllm_proxy.records import ExchangeEnd


class WatchLLMError(Exception):
    """Base of all errors of this package. `str()` is fit for an operator: what happened, what to do."""


class SettingsError(WatchLLMError):
    """Settings that cannot work. `problems` holds one sentence each, starting with the setting's name."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("wrong settings:\n" + "\n".join(f"  {problem}" for problem in problems))


class AlreadyRunning(WatchLLMError):
    """Someone else holds what we need; the message names who (pid, directory, port) where it can."""


class StoreError(WatchLLMError):
    """A store could not do what was asked."""


class StoreUnavailable(StoreError):
    """Down, slow, restarting, full or at its connection limit: the same request may go through later."""


class StoreRejected(StoreError):
    """The store will never accept this request: a poison row or a bug. Retrying is of no use."""


class CaptureLogError(WatchLLMError):
    """The capture log cannot be written, read or locked."""


class UpstreamError(WatchLLMError):
    """Forwarding failed. `end` tells how the exchange ends; `detail` is short and free of secrets."""

    def __init__(self, end: ExchangeEnd, detail: str) -> None:
        self.end = end
        self.detail = detail
        super().__init__(f"{end}: {detail}")
