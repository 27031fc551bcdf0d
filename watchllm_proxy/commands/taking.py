"""One run from the running server, in a form to be read: as it comes, whatever its size."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import BinaryIO

from watchllm_proxy.commands.api_client import ApiClient
from watchllm_proxy.console.addresses import run_path


class RunForm(StrEnum):
    MARKDOWN = "md"
    JSON = "json"
    NDJSON = "ndjson"


_SUFFIXES = {RunForm.MARKDOWN: ".md", RunForm.JSON: ".json?bodies=on", RunForm.NDJSON: ".ndjson"}


def copy_run(client: ApiClient, run_id: str, form: RunForm, out: BinaryIO, told: Callable[[int], None]) -> int:
    """Returns how many bytes it is; `told` hears how many there are so far. Raises CommandFailed when the answer
    breaks off: what was written till then is not whole."""
    size = 0

    def count(more: int) -> None:
        nonlocal size
        size += more
        told(size)

    client.copy(run_path(run_id) + _SUFFIXES[form], out, count)
    return size
