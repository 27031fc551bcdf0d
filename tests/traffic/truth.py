"""What a program says about each of its requests, and detection must never see: to which run it truly belongs.

The label travels in one header, set by the programs (`programs/label.py`, `programs/label.mjs`). The proxy
forwards it as it forwards every header, so it is in the capture log with the exchange it labels, and `corpus.py`
takes it out again. The scripted upstream reads from it what is to go wrong, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

HEADER = "x-truth"


class Unlabelled(AssertionError):
    """A request without a label, or with one that says too little: the program that sent it must be mended."""


@dataclass(frozen=True, slots=True)
class Label:
    """What the header says, as a JSON object with these fields; all but the first three may be left out.

    setup         whose recording this is (catalogue.py)
    run, parent   one conversation of one agent context, and whose tool call or delegation started it; unique
                  within the recording of one set-up
    branch_of     the run whose history this one goes on from, beside others: the same session, nobody's child
    turn          which task of that conversation: 0 up to the first final answer, then 1, ...
    agent         for hand-offs: who speaks now
    faults        by the how-manieth request of the run (from 1): "500", "429", "hang" or "cut"
    frame_ms      how long the upstream takes over each frame of a stream
    """

    setup: str
    scenario: str
    run: str
    turn: int = 0
    parent: str | None = None
    branch_of: str | None = None
    agent: str | None = None
    faults: Mapping[str, str] = field(default_factory=dict)
    frame_ms: float = 1.0


def read_label(header: str | None) -> Label:
    """Raises Unlabelled."""
    if header is None:
        raise Unlabelled("a request came without its label")
    try:
        return Label(**json.loads(header))
    except (TypeError, ValueError) as exc:
        raise Unlabelled(f"no label: {header!r}") from exc
