"""The sentences at the head of a run that say what went wrong. Each one leads to the steps it rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import orjson

from watchllm_proxy.console.labels import step_references
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.console.pages.figures import is_failed_step
from watchllm_proxy.records import Flag, FlagKind, RunStatus, Step, StepType

MAX_CLAIMS = 4
_MAX_SAID = 300
_MAX_ANSWER = 160
_TOLD = re.compile(
    r'"(message|param)"\s*:\s*("(?:[^"\\]|\\.)*")'
)  # of an error, also of one whose end was cut off
_SILENT = "The run fell silent while tool calls were still open: their results never came."


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence, and the steps it rests on beside those it names itself. `answer`: what those were told, in the
    tool's words, and the `argument` that it names."""

    text: str
    step_indexes: tuple[int, ...] = ()
    answer: str = ""
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    heading: str
    is_bad: bool  # something failed; else it is only worth a look
    claims: tuple[Claim, ...]
    more: int  # claims left out; they are marked in the timeline


def verdict_of(loaded: LoadedRun) -> Verdict | None:
    """None when there is nothing to say. What leads to no step is not said."""
    claims = _flag_claims(loaded) or _failure_claims(loaded)
    if loaded.run.status is RunStatus.ABANDONED:
        claims.append(Claim(_SILENT, _open_steps(loaded.steps)))
    claims = [claim for claim in claims if claim.step_indexes or _named(claim.text)]
    if not claims:
        return None
    is_bad = _is_bad(loaded)
    heading = "What went wrong" if is_bad else "Worth a look"
    return Verdict(heading, is_bad, tuple(claims[:MAX_CLAIMS]), max(0, len(claims) - MAX_CLAIMS))


def _is_bad(loaded: LoadedRun) -> bool:
    """A run that recovered from a failing step did not go wrong."""
    ended_badly = loaded.run.status in {RunStatus.FAILED, RunStatus.ABANDONED}
    return ended_badly or any(flag.severity == "error" for flag in loaded.flags)


def _flag_claims(loaded: LoadedRun) -> list[Claim]:
    """One claim for flags that say the same of different steps: the first one's words, and all the steps."""
    alike: dict[tuple[str, str], list[Flag]] = {}
    for flag in loaded.flags:
        if flag.severity != "info":
            alike.setdefault((flag.kind, re.sub(r"\d+", "#", flag.message)), []).append(flag)
    claims = []
    for group in alike.values():
        claim = _claim(group[0].message, [index for flag in group for index in flag.step_indexes])
        is_loop = group[0].kind is FlagKind.LOOP_DETECTED
        answer, argument = _told(loaded.steps, group[0]) if is_loop else ("", "")
        claims.append(replace(claim, answer=answer, argument=argument))
    return claims


def _told(steps: Sequence[Step], loop: Flag) -> tuple[str, str]:
    """What the calls of a loop were told where all of them failed for one reason, and the argument that it names;
    else nothing."""
    indexes = set(loop.step_indexes)
    found = [step for step in steps if step.step_index in indexes and step.type is StepType.TOOL_CALL]
    told = {_words(step.tool_output_summary or "") if is_failed_step(step) else ("", "") for step in found}
    return told.pop() if len(told) == 1 else ("", "")


def _words(output: str) -> tuple[str, str]:
    """The message of an error, and the argument that it names, as OpenAI's and most others give them."""
    told = {key: _text(value) for key, value in reversed(_TOLD.findall(output))}
    message = " ".join(told.get("message", output).split())
    cut = f"{message[:_MAX_ANSWER]}…" if len(message) > _MAX_ANSWER else message
    return cut, told.get("param", "")[:_MAX_ANSWER]


def _text(string: str) -> str:
    """What a JSON string says; of one that JSON does not allow, as half a surrogate, its letters as they stand."""
    try:
        return str(orjson.loads(string))
    except orjson.JSONDecodeError:
        return string[1:-1]


def _failure_claims(loaded: LoadedRun) -> list[Claim]:
    """Without any flag: the last step that failed, once the run is over."""
    failing = [step for step in loaded.steps if is_failed_step(step)]
    if not failing or loaded.run.status is RunStatus.RUNNING:
        return []
    last = failing[-1]
    said = last.error_message or last.tool_output_summary or last.summary
    return [_claim(f"Step {last.step_index} failed: {said[:_MAX_SAID]}", [last.step_index])]


def _claim(text: str, step_indexes: Sequence[int]) -> Claim:
    named = _named(text)
    return Claim(text, tuple(index for index in dict.fromkeys(step_indexes) if index not in named))


def _named(text: str) -> set[int]:
    return {index for _, index in step_references(text) if index is not None}


def _open_steps(steps: Sequence[Step]) -> tuple[int, ...]:
    """The tool calls without a result, or where there is none the last thing that was heard."""
    waiting = [step for step in steps if step.type is StepType.TOOL_CALL and step.tool_output_summary is None]
    return tuple(step.step_index for step in waiting or steps[-1:])
