"""One run in memory: its steps, which of its tool calls are open, and how it stands.

Everything here is either in the run's stored row or in its stored steps, so that `RunState.restored` makes the
same state again.

How a run stands is told by its last model step and the time since:

    last model step                      at once      after a while of silence
    answer, no open tool call            completed
    error that a retry does not cure     failed
    error that a retry may cure          running      failed (RETRY_GRACE_US)
    the client left                      running      cancelled (RETRY_GRACE_US)
    tools asked for, or still open       running      abandoned (the setting run_silence)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from uuid import UUID

from watchllm_proxy.records import Call, Run, RunOutline, RunStatus, Settlement, Step, StepType, ToolResult
from watchllm_proxy.sessionize import names, steps, turns
from watchllm_proxy.sessionize.offered import offered_tools
from watchllm_proxy.sessionize.turns import UserInput

RETRY_GRACE_US = 60_000_000
"""SDKs wait half a second to some tens of seconds before they try again."""

MAX_TAGS = 64

RunKey = tuple[str, str]
"""(project_id, run_id): the same explicit id in two projects names two runs."""


@dataclass(slots=True)
class RunState:
    project_id: str
    run_id: str
    session_id: str
    parent_run_id: str | None
    agent_name: str | None
    agent_version: str | None
    user_id: str | None
    title: str
    started_at_us: int
    last_activity_at_us: int
    is_explicit: bool = False  # named by the client: kept past its final answer, for the name may come again
    is_agent: bool = False
    status: RunStatus = RunStatus.RUNNING
    tags: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    inputs: set[str] = field(default_factory=set)  # `occurrence` of its user_input steps
    _last_model: int | None = None  # index of the newest model step
    _open_tools: list[int] = field(default_factory=list)  # indexes of tool_call steps without output, in order
    _tool_steps: dict[str, int] = field(default_factory=dict)  # newest tool_call or tool_result step by id
    _tool_lists: set[str] = field(default_factory=set)  # hashes of the lists of tools that were offered
    _changed: set[int] = field(default_factory=set)
    _filled: list[tuple[int, str]] = field(default_factory=list)  # tool calls answered since `take_filled`
    key: RunKey = field(init=False)

    def __post_init__(self) -> None:
        self.key = (self.project_id, self.run_id)

    @classmethod
    def begun(cls, call: Call, run_id: str, session_id: str, parent_run_id: str | None) -> RunState:
        return cls(
            project_id=call.project_id,
            run_id=run_id,
            session_id=session_id,
            parent_run_id=parent_run_id,
            agent_name=names.agent_name(call),
            agent_version=names.agent_version(call),
            user_id=call.user_id,
            title=names.title(call, turns.user_inputs(call)),
            started_at_us=call.started_at_us,
            last_activity_at_us=call.ended_at_us,
        )

    @classmethod
    def restored(cls, run: Run, stored: Sequence[Step]) -> RunState:
        state = cls(
            project_id=run.project_id,
            run_id=run.run_id,
            session_id=run.session_id,
            parent_run_id=run.parent_run_id,
            agent_name=run.agent_name,
            agent_version=run.agent_version,
            user_id=run.user_id,
            title=run.title,
            started_at_us=run.started_at_us,
            last_activity_at_us=run.last_activity_at_us,
            is_explicit=run.is_explicit,
            is_agent=run.is_agent,
            status=run.status,
            tags=dict(run.tags),
        )
        for step in sorted(stored, key=lambda step: step.step_index):
            state._append(step)
        state._changed.clear()
        return state

    @property
    def is_finished(self) -> bool:
        """The final answer has been given: nothing that it asked for is still open."""
        return self._judge_now() is RunStatus.COMPLETED

    @property
    def last_call_id(self) -> UUID | None:
        """The call of its newest model step: the only one that nothing has followed yet."""
        return None if self._last_model is None else self.steps[self._last_model].call_id

    @property
    def first_call_id(self) -> UUID | None:
        return next((step.call_id for step in self.steps if step.is_priced), None)

    @property
    def call_ids(self) -> list[UUID]:
        """Of its calls, in the order in which they were seen."""
        return [step.call_id for step in self.steps if step.is_priced and step.call_id is not None]

    @property
    def has_used_tools(self) -> bool:
        return any(step.type is StepType.TOOL_CALL for step in self.steps)

    def is_open(self, step_index: int) -> bool:
        """This tool call has been asked for, and its result has not come yet."""
        return step_index in self._open_tools

    @property
    def next_index(self) -> int:
        return len(self.steps)

    @property
    def open_tool_names(self) -> list[str]:
        return [self.steps[index].tool or "" for index in self._open_tools]

    @property
    def open_tool_ids(self) -> frozenset[str]:
        found = [self.steps[index].tool_call_id for index in self._open_tools]
        return frozenset([tool_call_id for tool_call_id in found if tool_call_id])

    def asked_with(self, step_index: int) -> list[Step]:
        """Tool calls of the same answer."""
        call_id = self.steps[step_index].call_id
        return [s for s in self.steps if s.call_id == call_id and s.type is StepType.TOOL_CALL]

    # --- a call arrives

    def add(
        self,
        call: Call,
        inputs: Sequence[UserInput],
        *,
        retried_step: int | None,
        is_asked_elsewhere: Callable[[str], bool],
    ) -> int:
        """Append the call's steps; returns the index of its model step. `inputs` are new to this run."""
        self.take_results(call)
        self._take_unknown_results(call, is_asked_elsewhere)
        for user_input in inputs:
            self._append(steps.user_input_step(self.next_index, call, user_input))
        if retried_step is not None:
            failed = self.steps[retried_step] if retried_step < len(self.steps) else None
            self._append(steps.retry_step(self.next_index, call, failed))
        model_index = self.next_index
        self._append(self._with_offer(steps.model_step(model_index, call), call))
        asked = steps.asked_tools(call)
        told = [step for tool in asked if (step := self._told(tool.tool_call_id)) is not None]
        for tool in asked:
            self._append(steps.tool_call_step(self.next_index, call, tool))
        self.take_told(told)
        self._note(call)
        return model_index

    def settle(self, told: Settlement) -> bool:
        """The upstream told afterwards what a call of this run used and cost. False: it is none of its calls."""
        index = next((s.step_index for s in self.steps if s.is_priced and s.call_id == told.call_id), None)
        if index is None:
            return False
        self.steps[index] = steps.with_settlement(self.steps[index], told)
        self._changed.add(index)
        return True

    def _with_offer(self, step: Step, call: Call) -> Step:
        """Which tools it offers is told once for each list of them."""
        if steps.tools_hash(step) in self._tool_lists:
            return step
        offered = offered_tools(call)
        return step if offered is None else replace(step, offered_tools=offered)

    def tool_step_index(self, issued_id: str) -> int | None:
        return self._tool_steps.get(issued_id)

    def _note(self, call: Call) -> None:
        self.started_at_us = min(self.started_at_us, call.started_at_us)
        self.last_activity_at_us = max(self.last_activity_at_us, call.ended_at_us)
        self.agent_name = self.agent_name or names.agent_name(call)
        self.agent_version = self.agent_version or names.agent_version(call)
        self.user_id = self.user_id or call.user_id
        self.is_agent = self.is_agent or self._looks_like_agent(call)
        for name, value in call.tags:
            if name in self.tags or len(self.tags) < MAX_TAGS:
                self.tags[name] = value
        self.judge()

    def _looks_like_agent(self, call: Call) -> bool:
        if self.is_explicit or call.tool_names or steps.asked_tools(call):
            return True
        counts = [step.type for step in self.steps if step.is_priced or step.type is StepType.RETRY]
        return len(counts) - 2 * counts.count(StepType.RETRY) > 1  # a retried chat is still one chat

    def _append(self, step: Step) -> None:
        index = step.step_index
        self.steps.append(step)
        self._changed.add(index)
        if step.occurrence is not None:
            self.inputs.add(step.occurrence)
        if step.offered_tools is not None:
            self._tool_lists.add(steps.tools_hash(step))
        if step.is_priced and not self._is_late(step):
            self._last_model = index
        if step.type is StepType.TOOL_CALL and step.tool_output_summary is None:
            self._open_tools.append(index)
        if step.tool_call_id and step.type in {StepType.TOOL_CALL, StepType.TOOL_RESULT}:
            self._tool_steps[step.tool_call_id] = index

    def _is_late(self, step: Step) -> bool:
        """An answer that asked for tools, seen after a call that began later: nothing waits for it any more but
        its tools."""
        if self._last_model is None or step.type is not StepType.DECISION:
            return False
        return step.started_at_us < self.steps[self._last_model].started_at_us

    # --- results of tools, which come inside a later request

    @property
    def told_results(self) -> list[Step]:
        """Results that were brought for tool calls which nobody has seen."""
        return [step for key in self._tool_steps if (step := self._told(key)) is not None]

    def _told(self, tool_call_id: str | None) -> Step | None:
        index = self._tool_steps.get(tool_call_id or "")
        step = self.steps[index] if index is not None else None
        return step if step is not None and step.type is StepType.TOOL_RESULT else None

    def take_told(self, told: Sequence[Step]) -> None:
        """Fill in what was brought before the answer was seen that asked for it."""
        for result in told:
            index = self._tool_steps.get(result.tool_call_id or "")
            if index is not None and index in self._open_tools:
                self._open_tools.remove(index)
                self._filled.append((index, result.tool_output_summary or ""))
                self.steps[index] = steps.with_told_result(self.steps[index], result)
                self._changed.add(index)

    def take_results(self, call: Call) -> bool:
        """Fill in what open tool calls gave; False: nothing was filled in. Newest first: where an id was
        used twice, its last result belongs to its last call."""
        open_before = len(self._open_tools)
        if open_before:
            taken: set[str] = set()
            for result in turns.tool_results_newest_first(call):
                if not self._open_tools:
                    break  # a long history holds hundreds of results that came before
                if result.tool_call_id and result.tool_call_id not in taken:
                    taken.add(result.tool_call_id)
                    self._fill(self._tool_steps.get(result.tool_call_id), call, result)
            for text in turns.observations(call):
                for index in self._oldest_open_together():
                    self._fill(index, call, ToolResult(None, text))
        return len(self._open_tools) < open_before

    def _take_unknown_results(self, call: Call, is_asked_elsewhere: Callable[[str], bool]) -> None:
        """Results without an id go to the open calls without one, in order. Those of other runs' calls are
        history, and those of calls that nobody saw get a step of their own."""
        for result in turns.new_tool_results(call):
            if not result.tool_call_id:
                self._fill(self._first_open_without_id(), call, result)
            elif result.tool_call_id not in self._tool_steps and not is_asked_elsewhere(result.tool_call_id):
                self._append(steps.tool_result_step(self.next_index, call, result))

    def _oldest_open_together(self) -> list[int]:
        """Open tool calls of one answer: a text protocol brings one observation for all of them."""
        calls = [self.steps[index].call_id for index in self._open_tools]
        return [index for index, call_id in zip(self._open_tools, calls, strict=True) if call_id == calls[0]]

    def _first_open_without_id(self) -> int | None:
        return next((i for i in self._open_tools if self.steps[i].tool_call_id is None), None)

    def _fill(self, index: int | None, call: Call, result: ToolResult) -> None:
        if index is None or index not in self._open_tools:
            return
        self._open_tools.remove(index)
        self._filled.append((index, result.text))
        self.steps[index] = steps.with_result(self.steps[index], call, result)
        self._changed.add(index)

    def take_filled(self) -> list[tuple[int, str]]:
        """Tool calls that got their result since the last time: step index and text."""
        filled, self._filled = self._filled, []
        return filled

    # --- how it stands

    def judge(self) -> None:
        """Say how it stands as if it were not silent: `judged_after_silence` may follow."""
        self.status = self._judge_now()

    def judged_after_silence(self) -> RunStatus:
        """What it comes to if nothing more happens."""
        now = self._judge_now()
        if now is not RunStatus.RUNNING:
            return now
        last = self.steps[self._last_model] if self._last_model is not None else None
        if last is None or last.type is not StepType.ERROR:
            return RunStatus.ABANDONED
        return RunStatus.CANCELLED if steps.is_client_abort(last) else RunStatus.FAILED

    def deadline_us(self, silence_us: int) -> int:
        """When silence ends it."""
        last = self.steps[self._last_model] if self._last_model is not None else None
        is_error = last is not None and last.type is StepType.ERROR
        return self.last_activity_at_us + (min(RETRY_GRACE_US, silence_us) if is_error else silence_us)

    def _judge_now(self) -> RunStatus:
        if self._last_model is None:
            return RunStatus.RUNNING
        last = self.steps[self._last_model]
        if last.type is StepType.ERROR:
            return RunStatus.RUNNING if steps.is_transient_error(last) else RunStatus.FAILED
        for index in self._open_tools:
            if not steps.is_output_tool(self.steps[index]):
                return RunStatus.RUNNING
        if last.type is StepType.MODEL_RESPONSE:
            return RunStatus.COMPLETED
        return RunStatus.COMPLETED if self._handed_in(last) else RunStatus.RUNNING

    def _handed_in(self, decision: Step) -> bool:
        """The decision was to give the final answer by a tool made for that."""
        asked = self.steps[decision.step_index + 1 :]
        return any(s.call_id == decision.call_id and steps.is_output_tool(s) for s in asked)

    # --- rows

    def take_changed_steps(self) -> list[Step]:
        changed = [self.steps[index] for index in sorted(self._changed)]
        self._changed.clear()
        return changed

    def row(self) -> Run:
        """Totals are sums over the steps, here and nowhere else."""
        priced = [step for step in self.steps if step.is_priced]
        costs = [step.cost_usd for step in priced if step.cost_usd is not None]
        ended = None if self.status is RunStatus.RUNNING else self.last_activity_at_us
        return Run(
            project_id=self.project_id,
            run_id=self.run_id,
            session_id=self.session_id,
            parent_run_id=self.parent_run_id,
            agent_name=self.agent_name,
            agent_version=self.agent_version,
            user_id=self.user_id,
            title=self.title,
            status=self.status,
            started_at_us=self.started_at_us,
            ended_at_us=ended,
            last_activity_at_us=self.last_activity_at_us,
            is_agent=self.is_agent,
            total_steps=len(self.steps),
            total_calls=len(priced),
            error_count=sum(s.type is StepType.ERROR or bool(s.is_tool_error) for s in self.steps),
            input_tokens=sum(step.input_tokens or 0 for step in priced),
            output_tokens=sum(step.output_tokens or 0 for step in priced),
            cache_read_input_tokens=sum(step.cache_read_input_tokens or 0 for step in priced),
            total_cost_usd=sum(costs, Decimal(0)) if costs else None,
            unpriced_calls=sum(map(_is_unpriced, priced)),
            tags=tuple(self.tags.items()),
            is_explicit=self.is_explicit,
        )

    def outline(self) -> RunOutline:
        return RunOutline(
            project_id=self.project_id,
            run_id=self.run_id,
            session_id=self.session_id,
            status=self.status,
            last_activity_at_us=self.last_activity_at_us,
            is_explicit=self.is_explicit,
        )


def _is_unpriced(step: Step) -> bool:
    """It used tokens, and what they cost is not known. An attempt without tokens cost nothing we could name."""
    return step.cost_usd is None and bool(step.input_tokens or step.output_tokens)
