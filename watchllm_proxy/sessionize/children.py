"""Which tool call started which run, both ways. A function of the CHILD and VERIFIED anchors put into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from typing import TypeVar

from watchllm_proxy.records import Anchor
from watchllm_proxy.sessionize.anchors import AnchorKind
from watchllm_proxy.sessionize.run_state import RunKey

_Group = TypeVar("_Group")

TaskKey = tuple[str, str, int]
"""(project_id, run_id, step_index) of a tool call."""


class Children:
    """Bounded by the runs in memory: a child is forgotten with its run."""

    def __init__(self) -> None:
        self._tasks: dict[RunKey, Anchor] = {}
        self._children: dict[TaskKey, dict[RunKey, None]] = {}
        self._helpers: dict[RunKey, Counter[tuple[int | None, str]]] = {}
        self._unverified: dict[str, dict[RunKey, None]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def put(self, anchor: Anchor) -> None:
        """`anchor.value` is the child; the newest wins."""
        child = (anchor.project_id, anchor.value)
        self._unbind(child)
        self._tasks[child] = anchor
        self._children.setdefault(_task_key(anchor), {})[child] = None
        if anchor.kind == AnchorKind.CHILD:
            self._unverified.setdefault(anchor.project_id, {})[child] = None

    def put_helper(self, anchor: Anchor) -> None:
        """A call that a tool made for itself: `anchor.value` ends with its kind."""
        kinds = self._helpers.setdefault((anchor.project_id, anchor.run_id), Counter())
        kinds[anchor.step_index, anchor.value.rpartition(" ")[2]] += 1

    def helpers(self, task: Anchor, kind: str) -> int:
        """How many calls of this kind the tool call has made for itself."""
        made = self._helpers.get((task.project_id, task.run_id), Counter())
        return made[task.step_index, kind]

    def forget(self, child: RunKey) -> None:
        self._helpers.pop(child, None)
        self._unbind(child)

    def _unbind(self, child: RunKey) -> None:
        anchor = self._tasks.pop(child, None)
        if anchor is None:
            return
        _drop(self._children, _task_key(anchor), child)
        _drop(self._unverified, child[0], child)

    def keep_only(self, runs: Container[RunKey]) -> None:
        """Forget what runs out of memory had to do with."""
        for child in [child for child in (*self._tasks, *self._helpers) if child not in runs]:
            self.forget(child)

    def task_of(self, child: RunKey) -> Anchor | None:
        return self._tasks.get(child)

    def is_verified(self, child: RunKey) -> bool:
        anchor = self._tasks.get(child)
        return anchor is not None and anchor.kind == AnchorKind.VERIFIED

    def unverified(self, project_id: str) -> list[RunKey]:
        return list(self._unverified.get(project_id, ()))

    def of_task(self, anchor: Anchor) -> list[RunKey]:
        """Runs that the tool call of this anchor (`run_id`, `step_index`) has started, in order."""
        return list(self._children.get(_task_key(anchor), ()))


def _drop(groups: dict[_Group, dict[RunKey, None]], group: _Group, child: RunKey) -> None:
    members = groups.get(group, {})
    members.pop(child, None)
    if not members:
        groups.pop(group, None)


def _task_key(anchor: Anchor) -> TaskKey:
    return anchor.project_id, anchor.run_id, -1 if anchor.step_index is None else anchor.step_index
