"""`watchllm`, whose core kills itself at a crash point: python -m tests.e2e.programs.armed_watchllm <arguments>

The file `crash-at` in the data directory names the point and how often it is to be reached:
`recorder.after_begin 3`. The process that dies there deletes the file, so the next one lives. A third word names a
table of the embedded ClickHouse: it dies as if between noting the token of its last insert and taking its rows.

Where the file says `deadly TEXT`, each core dies that thinks about a record that holds it, and the file stays.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from watchllm_proxy import child, crash_points, supervisor
from watchllm_proxy.capture.merge import Batch
from watchllm_proxy.cli import main
from watchllm_proxy.thinking import Thinker, Understood

CRASH_FILE = "crash-at"


def arm(file: Path) -> None:
    point, times, *torn = file.read_text().split()
    if point == "deadly":
        die_of(times.encode())
        return
    left = int(times)

    def count_down() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            file.unlink()
            for table in torn:
                shutil.rmtree(last_part(file.parent / "clickhouse" / "data", table))
            os.kill(os.getpid(), signal.SIGKILL)

    crash_points.arm(point, count_down)


def die_of(text: bytes) -> None:
    understand = Thinker.understand

    def end_or_understand(self: Thinker, batch: Batch) -> Understood:
        if any(text in record.payload for record in batch.records):
            os.kill(os.getpid(), signal.SIGKILL)
        return understand(self, batch)

    Thinker.understand = end_or_understand  # type: ignore[method-assign]


def last_part(clickhouse: Path, table: str) -> Path:
    """The rows of the last insert, which its log of tokens names, as `ADD, part, token`."""
    (definition,) = clickhouse.glob(f"metadata/*/{table}.sql")
    uuid = definition.read_text().split("UUID '")[1][:36]
    place = clickhouse / "store" / uuid[:3] / uuid
    newest = max(place.glob("deduplication_logs/*.txt"), key=lambda log: int(log.stem.rpartition("_")[2]))
    _, part, _ = newest.read_text().splitlines()[-1].split("\t")
    return place / part


if __name__ == "__main__":
    supervisor.COMMAND = (sys.executable, "-m", "tests.e2e.programs.armed_watchllm")
    crash_file = Path(os.environ["WATCHLLM_DATA_DIR"]) / CRASH_FILE
    if "up" in sys.argv:
        main()
    else:
        if "core" in sys.argv and crash_file.exists():
            arm(crash_file)
        sys.exit(child.main(sys.argv[1:]))
