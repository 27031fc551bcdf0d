"""Each kind of flag is told where people look: a row of docs/flags.md, a label, and thresholds that may be set."""

from __future__ import annotations

import re
from pathlib import Path

from watchllm_proxy.console.labels import flag_label, threshold_label
from watchllm_proxy.enrich.flags import DEFAULT_THRESHOLDS
from watchllm_proxy.enrich.flags.thresholds import CHOICES
from watchllm_proxy.records import FlagKind

ROOT = Path(__file__).parents[3]
ROW = re.compile(r"^\| `(\w+)` \| (info|warning|error) \| .+ \|([^|]*)\|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "docs/flags.md").read_text())


def test_every_kind_has_a_row_and_a_label_of_its_own() -> None:
    assert sorted(kind for kind, *_ in ROWS) == sorted(FlagKind)
    assert len({flag_label(kind) for kind in FlagKind}) == len(FlagKind)


def test_every_threshold_stands_beside_its_flag_and_can_be_chosen() -> None:
    named = [name for *_, chosen in ROWS for name in re.findall(r"`(\w+)`", chosen)]
    assert sorted(named) == sorted(CHOICES), "each beside one flag, and no other"
    assert all(hasattr(DEFAULT_THRESHOLDS, name) and threshold_label(name) for name in CHOICES)
