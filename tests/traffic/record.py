"""Record the corpora anew: every set-up's program, unchanged but for its base URL, through the real proxy.

    python -m tests.traffic.record            all set-ups, one after the other, then all together (mix)
    python -m tests.traffic.record strands    only these

Each recording has a proxy of its own (`watchllm proxy`, as a user starts it) and a scripted upstream. What is
written is what the proxy captured. Everything is on loopback, and ends by itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.traffic.catalogue import CORPORA, SETUPS, Setup
from tests.traffic.corpus import read_log, write_corpus
from tests.traffic.upstream import TrafficModel

PROJECT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
PROGRAM_TIMEOUT_S = 240.0
PROGRAMS_AT_ONCE = 5
POLL_S = 0.05
MIX = "mix"


async def record(name: str, setups: Sequence[Setup]) -> int:
    """One corpus of these set-ups, a few at a time. Returns how many exchanges it holds."""
    commands = [setup.command() for setup in setups]  # before the clock runs: this may install them
    model = TrafficModel()
    await model.start()
    try:
        with tempfile.TemporaryDirectory() as data_dir:
            async with _proxy(Path(data_dir), model.url) as base_url:
                runs = zip(setups, commands, strict=True)
                turn = asyncio.Semaphore(PROGRAMS_AT_ONCE)
                async with asyncio.TaskGroup() as group:
                    for setup, command in runs:
                        group.create_task(_run(setup, command, base_url, turn))
            exchanges = read_log(Path(data_dir) / "capture" / "w0")
    finally:
        await model.stop()
    if model.unlabelled:
        raise AssertionError(f"{name}: {len(model.unlabelled)} requests without a label: {model.unlabelled[:3]}")
    return write_corpus(CORPORA / f"{name}.jsonl.gz", exchanges)


@asynccontextmanager
async def _proxy(data_dir: Path, upstream_url: str) -> AsyncIterator[str]:
    """`watchllm proxy` on a port of its own; yields the base URL of its clients. Its log is whole afterwards."""
    told = data_dir / "proxy.out"
    with told.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "watchllm_proxy", "proxy", "--port", "0", "--data-dir", str(data_dir)),
            cwd=PROJECT,
            env={**_environment(), "WATCHLLM_UPSTREAM_URL": upstream_url, "WATCHLLM_ALLOW_ANONYMOUS": "on"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        yield await asyncio.wait_for(_address(told), START_TIMEOUT_S)
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
    if process.returncode != 0:
        raise AssertionError(f"the proxy ended with {process.returncode}:\n{told.read_text()}")


async def _address(told: Path) -> str:
    """As the proxy's log tells it, once it listens."""
    while True:
        for line in told.read_text().splitlines():
            if '"proxy.ready"' in line:
                return f"http://127.0.0.1:{json.loads(line)['port']}/v1"
        await asyncio.sleep(POLL_S)


async def _run(setup: Setup, command: Sequence[str], base_url: str, turn: asyncio.Semaphore) -> None:
    async with turn:
        await _run_now(setup, command, base_url)


async def _run_now(setup: Setup, command: Sequence[str], base_url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**_environment(), **setup.environment(base_url)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        printed, complained = await asyncio.wait_for(process.communicate(), PROGRAM_TIMEOUT_S)
    except TimeoutError:
        raise AssertionError(f"{setup.name} does not end within {PROGRAM_TIMEOUT_S} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        told = (printed + complained).decode(errors="replace")[-4000:]
        raise AssertionError(f"{setup.name} ended with {process.returncode}:\n{told}")


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "NO_PROXY": "127.0.0.1,localhost"}


async def main(names: Sequence[str]) -> None:
    known = {setup.name: [setup] for setup in SETUPS} | {MIX: list(SETUPS)}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"no such set-up: {', '.join(unknown)}; there are {', '.join(known)}")
    for name in names or known:
        count = await record(name, known[name])
        size_kb = (CORPORA / f"{name}.jsonl.gz").stat().st_size / 1000
        print(f"{name}: {count} exchanges, {size_kb:.0f} kB", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
