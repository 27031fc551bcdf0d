"""Finished runs leave nothing behind but what the limits allow, and the thousandth call costs what the first did.

The same agents, with the usual limits, are `python -m bench memory`: a million calls.
"""

from __future__ import annotations

from bench.memory import Plan, measure

CACHES_ARE_FULL_CALLS = 10_000
"""Texts and marks that were read lately have limits of their own, which do not shrink with the others'."""


def test_memory_and_work_after_many_calls_are_those_after_fewer() -> None:
    before, after = measure(Plan((CACHES_ARE_FULL_CALLS, 3 * CACHES_ARE_FULL_CALLS), share=0.01))
    assert after.resident_bytes < 1.2 * before.resident_bytes
    assert after.functions < 1.2 * before.functions, "counted, not timed"
