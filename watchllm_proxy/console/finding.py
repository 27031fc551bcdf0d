"""Steps of a run in which a text stands: in what the steps themselves say, and in the bodies of their calls."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from uuid import UUID

from watchllm_proxy.console.answers import BadParameter
from watchllm_proxy.console.pages.figures import MODEL_TYPES
from watchllm_proxy.records import Step, StepType
from watchllm_proxy.store.found_texts import FoundText

MAX_TEXT = 200


def search_query(query: Mapping[str, str]) -> str:
    """The text to look for; empty: nothing is. Raises `BadParameter`."""
    for name in query:
        if name != "q":
            raise BadParameter(name, f"There is no parameter {name!r:.60}; there is q.")
    wanted = query.get("q", "")
    if len(wanted) > MAX_TEXT:
        raise BadParameter("q", f"q must have at most {MAX_TEXT} characters.")
    return wanted


def steps_that_say(steps: Sequence[Step], wanted: Collection[str]) -> set[int]:
    """Indexes of those with one of the texts in their name, arguments, output or what else a row is made of."""
    looked_for = [each.lower() for each in wanted]
    return {
        step.step_index
        for step in steps
        if any(each in text for text in map(str.lower, _texts(step)) for each in looked_for)
    }


def _texts(step: Step) -> Iterator[str]:
    texts = (
        step.tool,
        step.model,
        step.summary,
        step.decision,
        step.tool_args,
        step.tool_output_summary,
        step.error_type,
        step.error_message,
        step.reported,
    )
    return (text for text in texts if text)


def steps_of_bodies(steps: Sequence[Step], found: Sequence[FoundText]) -> set[int]:
    """Indexes of the steps that the messages belong to: a result to its tool call, what a user said to that, all
    else to the model call. An answer that comes again in a later request is told where it was answered."""
    tools = {step.tool_call_id: step.step_index for step in steps if step.tool_call_id is not None}
    models = {step.call_id: step.step_index for step in steps if step.type in MODEL_TYPES}
    users = {step.call_id: step.step_index for step in steps if step.type is StepType.USER_INPUT}
    indexes: set[int] = set()
    is_answered = False
    for each in found:
        if each.is_answer:
            is_answered = True
        elif each.role == "assistant" and is_answered:
            continue
        indexes.update(_steps_of(each, tools, models, users))
    return indexes


def _steps_of(
    each: FoundText, tools: Mapping[str, int], models: Mapping[UUID | None, int], users: Mapping[UUID | None, int]
) -> list[int]:
    of_tools = [tools[one] for one in each.tool_call_ids if one in tools]
    if of_tools:
        return of_tools
    place = users if each.role == "user" and each.call_id in users else models
    return [place[each.call_id]] if each.call_id in place else []
