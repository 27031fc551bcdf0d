"""Recorded agents that went round in circles, that did not, and that failed where a person says."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.sessionize.test_recorded_conversations import SYSTEM, growing_requests, lines
from watchllm_proxy.decode import decode
from watchllm_proxy.enrich.flags import find_flags
from watchllm_proxy.insights.explain import explain
from watchllm_proxy.records import Flag, FlagKind, Run, Step, StepType
from watchllm_proxy.sessionize import Sessionizer

SILENCE_US = 600_000_000

pytestmark = pytest.mark.shared


def played(
    name: str, recorded: dict[str, Any]
) -> Iterator[tuple[Run, tuple[Step, ...], tuple[Flag, ...], list[int]]]:
    """Its runs as they come from requests that grow, and which message of the recording each step's call wrote."""
    own = next((message for message in recorded["messages"] if message.get("role") == "system"), SYSTEM)
    exchanges = growing_requests(name, recorded, "10.0.0.1:4000", 0.0, random.Random(1), own)
    answers = [at for at, message in enumerate(recorded["messages"]) if message.get("role") == "assistant"]
    written = {each.exchange_id: at for each, at in zip(exchanges, answers, strict=True)}
    sessionizer = Sessionizer(silence_us=SILENCE_US)
    for each in exchanges:
        sessionizer.observe(decode(each), each.ended_at_us)
    changes = sessionizer.drain()
    for run in changes.runs:
        steps = changes.all_steps[run.project_id, run.run_id]
        yield run, steps, find_flags(run, steps), [written[step.call_id] for step in steps if step.call_id]


def kinds_in(folder: Path, name: str, repeats: range) -> list[set[FlagKind]]:
    """Kinds of flags of each recorded run that repeats one call so often in a row."""
    found = []
    for number, recorded in enumerate(lines(folder / f"{name}.jsonl.gz")):
        if recorded["stats"]["max_identical_consecutive_tool_calls"] in repeats:
            runs = played(f"{name}{number}", recorded)
            found.append({flag.kind for _, _, flags, _ in runs for flag in flags})
    return found


def test_every_run_that_makes_one_call_five_times_in_a_row_is_a_loop(shared: Path) -> None:
    folder = shared / "data" / "trajectories"
    found = [
        kinds
        for path in sorted(folder.glob("*.jsonl.gz"))
        for kinds in kinds_in(folder, path.name.removesuffix(".jsonl.gz"), range(5, 10_000))
    ]
    assert len(found) > 100
    assert [kinds for kinds in found if FlagKind.LOOP_DETECTED not in kinds] == []


def test_of_agents_that_repeat_nothing_none_in_a_hundred_is_said_to_go_round(shared: Path) -> None:
    found = kinds_in(shared / "data" / "trajectories", "tau-bench", range(2))
    loops = sum(FlagKind.LOOP_DETECTED in kinds for kinds in found)
    assert len(found) > 50
    assert loops <= 0.01 * len(found)
    rates = Counter(kind for kinds in found for kind in kinds)
    for kind in FlagKind:  # a flag on every run is noise
        assert rates[kind] <= 0.2 * len(found), kind


def test_labelled_failing_steps_are_among_the_flagged_or_explained_ones_as_often_as_the_docs_say(
    shared: Path,
) -> None:
    """A wrong count or a forgotten question shows in no step's form: rules find what tools and upstreams say."""
    labels = found = named_steps = all_steps = 0
    for number, recorded in enumerate(lines(shared / "data" / "failures" / "agentrx-tau-retail.jsonl.gz")):
        named: set[int] = set()
        for run, steps, flags, written in played(f"failure{number}", recorded):
            indexes = {index for flag in flags for index in flag.step_indexes}
            indexes |= {each.step_index for each in explain(run, steps, flags)}
            all_steps += len(steps)
            named_steps += len(indexes)
            for step, at in zip(steps, written, strict=True):
                if step.step_index in indexes:
                    named |= {at, at + 1} if step.type is StepType.TOOL_CALL else {at}
        failures = recorded["label"]["failures"]
        labels += len(failures)
        found += sum(failure["step_number"] - 1 in named for failure in failures)  # they count messages from 1
    print(f"{found} of {labels} labelled steps; {named_steps} of {all_steps} steps are named")
    assert (labels, found) == (20, 8)
