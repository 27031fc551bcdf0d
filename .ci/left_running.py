"""Fail when a process that the run started is still there: one whose command line names a directory of the run.

python .ci/left_running.py DIRECTORY...
"""

from __future__ import annotations

import sys

import psutil


def left_running(directories: list[str]) -> list[psutil.Process]:
    """Processes naming one of `directories`, without this one and its parents."""
    ours = {psutil.Process().pid, *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue  # it ended meanwhile
        if process.pid not in ours and any(directory in word for word in words for directory in directories):
            found.append(process)
    return found


def main(directories: list[str]) -> int:
    found = left_running(directories)
    for process in found:
        sys.stderr.write(f"still running: {process.pid} {' '.join(process.cmdline())[:200]}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
