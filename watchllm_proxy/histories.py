"""CONDUCTOR of what agents usually cost: what the dearest steps of a changed run's agent cost before, run by run.

Earlier means: begun and over before the run began. So it is the same now, after a restart and when the log is read
again, wherever a batch ends: runs of the same batch stand in memory, the others in Postgres.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice

from watchllm_proxy.enrich.flags import DEFAULT_THRESHOLDS
from watchllm_proxy.records import Run, RunChanges, Step
from watchllm_proxy.store import views
from watchllm_proxy.store.postgres import RunStore
from watchllm_proxy.store.run_rows import EarlierRun, dearest_step_usd

MAX_RUNS = 50

RunKey = tuple[str, str]
Histories = Mapping[RunKey, tuple[Decimal, ...]]


@dataclass(frozen=True, slots=True)
class Asking:
    """A run with a step that may be dear."""

    key: RunKey
    agent: tuple[str, str]  # project and name, as they are stored
    began_us: int


async def histories_of(changes: RunChanges, runs: RunStore) -> Histories:
    """Of those changed runs whose agent is known and that have a step worth looking at; the newest runs first."""
    asking = list(_asking(changes))
    if not asking:
        return {}
    stored = await runs.earlier_runs([(*each.agent, each.began_us) for each in asking], MAX_RUNS)
    return joined(asking, stored, changes)


def joined(asking: Sequence[Asking], stored: Sequence[Sequence[EarlierRun]], changes: RunChanges) -> Histories:
    """`stored`: for each of `asking`. What is in memory is newer than what is stored of the same run."""
    changed: defaultdict[tuple[str, str], list[tuple[Run, Decimal]]] = defaultdict(list)
    for run in changes.runs:
        dearest = dearest_step_usd(changes.all_steps[run.project_id, run.run_id])
        if run.agent_name is not None and dearest is not None:
            changed[_agent(run)].append((run, dearest))
    for of_agent in changed.values():
        of_agent.sort(key=lambda each: (-each[0].started_at_us, each[0].run_id))
    in_memory = {(run.project_id, views.key(run.run_id)) for run in changes.runs}
    found: dict[RunKey, tuple[Decimal, ...]] = {}
    for each, of_store in zip(asking, stored, strict=True):
        over = (pair for pair in changed[each.agent] if pair[0].last_activity_at_us < each.began_us)
        earlier = [EarlierRun(run.run_id, run.started_at_us, dearest) for run, dearest in islice(over, MAX_RUNS)]
        earlier += [run for run in of_store if (each.agent[0], run.run_id) not in in_memory]
        earlier.sort(key=lambda run: (-run.started_at_us, run.run_id))
        found[each.key] = tuple(run.dearest_step_usd for run in earlier[:MAX_RUNS])
    return found


def _asking(changes: RunChanges) -> Iterable[Asking]:
    for run in changes.runs:
        key = (run.project_id, run.run_id)
        if run.agent_name is not None and _may_be_dear(changes.all_steps[key]):
            yield Asking(key, _agent(run), run.started_at_us)


def _may_be_dear(steps: Sequence[Step]) -> bool:
    return (dearest_step_usd(steps) or 0) >= DEFAULT_THRESHOLDS.high_cost_history_floor_usd


def _agent(run: Run) -> tuple[str, str]:
    return views.key(run.project_id), views.key(run.agent_name or "")
