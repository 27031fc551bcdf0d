"""Which tool call started which run, both ways. A function of the CHILD and VERIFIED anchors put into it."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Container
from typing import TypeVar

from watchllm_proxy.records import Anchor
from watchllm_proxy.sessionize.anchors import AnchorKind
from watchllm_proxy.sessionize.run_state import RunKey

_Group = TypeVar("_Group")

TaskKey = tuple[str, str, int]
"""(project_id, run_id, step_index) of a tool call."""


class Children:
    """Holds what is among the last `window` anchors put anywhere (`Anchor.seq`). A child is forgotten with its
    run, if not before."""

    def __init__(self, *, window: int) -> None:
        self._window = window
        self._tasks: OrderedDict[RunKey, Anchor] = OrderedDict()
        self._helping: OrderedDict[tuple[str, str], Anchor] = OrderedDict()
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
        self._helping[anchor.project_id, anchor.value] = anchor
        kinds = self._helpers.setdefault((anchor.project_id, anchor.run_id), Counter())
        kinds[_helper_kind(anchor)] += 1

    def keep_window(self, newest_seq: int) -> None:
        """Forget what has fallen out of the window, now that this anchor is the newest."""
        last = newest_seq - self._window
        while self._tasks and next(iter(self._tasks.values())).seq <= last:
            self._unbind(next(iter(self._tasks)))
        while self._helping and next(iter(self._helping.values())).seq <= last:
            self._forget_helper()

    def _forget_helper(self) -> None:
        _, anchor = self._helping.popitem(last=False)
        run = (anchor.project_id, anchor.run_id)
        kinds = self._helpers.get(run, Counter())
        kinds[_helper_kind(anchor)] -= 1
        if kinds.total() <= 0:
            self._helpers.pop(run, None)

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

    def is_guess(self, child: RunKey) -> bool:
        """It has been hung under a tool call, and no result has borne that out."""
        return child in self._unverified.get(child[0], ())

    def unverified(self, project_id: str) -> list[RunKey]:
        return list(self._unverified.get(project_id, ()))

    def of_task(self, anchor: Anchor) -> list[RunKey]:
        """Runs that the tool call of this anchor (`run_id`, `step_index`) has started, in order."""
        return list(self._children.get(_task_key(anchor), ()))

    def of_step(self, parent: RunKey, step_index: int) -> list[RunKey]:
        """The same, of the tool call at this step of `parent`."""
        return list(self._children.get((*parent, step_index), ()))


def _drop(groups: dict[_Group, dict[RunKey, None]], group: _Group, child: RunKey) -> None:
    members = groups.get(group, {})
    members.pop(child, None)
    if not members:
        groups.pop(group, None)


def _helper_kind(anchor: Anchor) -> tuple[int | None, str]:
    return anchor.step_index, anchor.value.rpartition(" ")[2]


def _task_key(anchor: Anchor) -> TaskKey:
    return anchor.project_id, anchor.run_id, -1 if anchor.step_index is None else anchor.step_index
