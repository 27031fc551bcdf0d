"""Named places where a test may kill the process, to prove that nothing is lost or doubled there.

Nothing is armed in production: `reach` is then one look at an empty dict. A crash test runs the real code in
a subprocess whose main calls `arm(name, lambda: os.kill(os.getpid(), signal.SIGKILL))` first.
"""

from __future__ import annotations

from collections.abc import Callable

_armed: dict[str, Callable[[], object]] = {}


def arm(name: str, action: Callable[[], object]) -> None:
    """Run `action` each time the point `name` is reached, in the thread that reaches it."""
    _armed[name] = action


def reach(name: str) -> None:
    """Mark a place between two steps that a crash may separate."""
    if _armed and (action := _armed.get(name)):
        action()
