"""A function in a fresh process: the embedded ClickHouse opens one directory in a process's life."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

A = TypeVar("A")
T = TypeVar("T")

END_TIMEOUT_S = 10.0


def in_a_process_of_its_own(function: Callable[[A], T], argument: A) -> T:
    """What `function` gives. Whoever leaves early, by a signal too, takes the process and its stores along."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(sender, function, argument))
    process.start()
    sender.close()
    try:
        result: T = receiver.recv()
        process.join(END_TIMEOUT_S)
        return result
    except EOFError as exc:
        raise RuntimeError("the measurement failed: what it said is above") from exc
    finally:
        process.terminate()
        process.join()


def end_in_order_on_sigterm() -> None:
    """SIGTERM as an exception, so that what was started is stopped on the way out."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _send_result(sender: Connection, function: Callable[[A], T], argument: A) -> None:
    end_in_order_on_sigterm()
    sender.send(function(argument))
