"""Recorded agents once more, their histories rewritten as clients are seen to do it (tests/traffic/rewriting.py).

Where ids come back, nothing that is done to the rest may cost a session. Where none does, some are lost; but no
call may be put into a foreign session with certainty.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.traffic.rewriting import REWRITINGS
from tests.traffic.score import replayed_as, score

CORPUS = Path(__file__).parents[2] / "data" / "agents" / "mix_sampled.jsonl.gz"

# rewriting: (session F1, run F1); a little below what is reached, and they may only rise.
WITHOUT_IDS = {
    "ids_renamed": (0.98, 0.85),
    "calls_told_as_text": (0.98, 0.84),
    "all_in_one_prompt": (0.69, 0.65),
}


@pytest.mark.parametrize("name", REWRITINGS)
def test_a_rewritten_history_is_still_found_and_never_wrongly_certain(name: str) -> None:
    reached = score(replayed_as(CORPUS, REWRITINGS[name]))
    session_f1, run_f1 = WITHOUT_IDS.get(name, (0.99, 0.99))

    assert reached.false == ()
    assert reached.sessions.f1 >= session_f1, str(reached)
    assert reached.runs.f1 >= run_f1, str(reached)
