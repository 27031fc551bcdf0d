"""A virtual environment or a node_modules per client, built on first use, outside the checkout.

They live in WATCHLLM_TEST_CLIENTS_DIR (default: ~/.cache/watchllm-clients), one directory for each set of pinned
requirements, so that a changed pin builds a new one. Building takes a second or two per client once the packages
are in the cache; the registries are reached by the ordinary clients, set up as this machine has them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
REQUIREMENTS = HERE / "requirements"

UV = "uv==0.13.9"
INSTALL_TIMEOUT_S = 600
PROGRAM_TIMEOUT_S = 60


def clients_dir() -> Path:
    configured = os.environ.get("WATCHLLM_TEST_CLIENTS_DIR")
    return Path(configured) if configured else Path.home() / ".cache" / "watchllm-clients"


class ProgramFailed(AssertionError):
    """A client's program ended with an error: its output says why."""


def python_command(
    requirements: str, program: str, *, programs: Path = PROGRAMS, pins_dir: Path = REQUIREMENTS
) -> list[str]:
    """The command that runs `programs/<program>` with the packages of `requirements/<requirements>.txt`."""
    pins = pins_dir / f"{requirements}.txt"
    version = "{}.{}".format(*sys.version_info)
    with _built(f"{requirements}-py{version}", pins.read_bytes()) as (place, is_new):
        if is_new:
            _install(place, pins)
    return [str(place / "bin" / "python"), str(programs / program)]


def node_command(
    requirements: str, program: str, *, programs: Path = PROGRAMS, pins_dir: Path = REQUIREMENTS
) -> list[str]:
    """The same for Node. Imports are looked up from where a file is, so the programs are copied beside them."""
    package = pins_dir / requirements / "package.json"
    with _built(f"{requirements}-node", package.read_bytes()) as (place, is_new):
        if is_new:
            place.mkdir(parents=True)
            shutil.copy(package, place)
            _run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"], cwd=place)
        for source in programs.glob("*.mjs"):
            shutil.copy(source, place)
    return ["node", str(place / program)]


def run_program(command: Sequence[str], environ: Mapping[str, str]) -> str:
    """What the program printed. It gets this machine's environment without its proxies and keys, and `environ`."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
    done = subprocess.run(
        command,
        env={**kept, **environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=PROGRAM_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise ProgramFailed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout.strip()


@contextmanager
def _built(name: str, pins: bytes) -> Iterator[tuple[Path, bool]]:
    """The directory for these pins, and whether it is to be built now; one process at a time. A build that
    broke off leaves no stamp and is begun anew."""
    root = clients_dir()
    root.mkdir(parents=True, exist_ok=True)
    place = root / f"{name}-{hashlib.sha256(pins).hexdigest()[:12]}"
    stamp = place / ".built"
    with (root / f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        is_new = not stamp.exists()
        if is_new:
            shutil.rmtree(place, ignore_errors=True)
        yield place, is_new
        stamp.touch()


def _install(place: Path, pins: Path) -> None:
    """By uv, which takes a tenth of pip's time; pip brings uv itself, and says which index to use."""
    uv = _uv()
    _run([uv, "venv", "--quiet", "--python", sys.executable, str(place)])
    _run([uv, "pip", "install", "--quiet", "--python", str(place / "bin" / "python"), "--requirement", str(pins)])


def _uv() -> str:
    with _built("uv", UV.encode()) as (place, is_new):
        if is_new:
            venv.create(place, with_pip=True)
            _run([str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", UV])
    return str(place / "bin" / "uv")


def _run(command: Sequence[str], cwd: Path | None = None) -> None:
    """Installs use the machine's own settings, proxies included; what fails is told in full."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=_install_environment(),
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")


def _install_environment() -> dict[str, str]:
    """uv does not read pip's configuration: hand on the index that pip is set up with."""
    environ = {**os.environ, "UV_CACHE_DIR": str(clients_dir() / "uv-cache")}
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode == 0 and "UV_DEFAULT_INDEX" not in environ:
        environ["UV_DEFAULT_INDEX"] = asked.stdout.strip()
    return environ
