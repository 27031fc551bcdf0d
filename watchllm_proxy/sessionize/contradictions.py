"""Answers that say otherwise than the tools they rest on, where that can be proved word by word.

    the answer says                          and yet
    "11 available options"                   of a list that it has just read, another number is `available`
    "the delivered orders (#1 and #2)"       the tools gave another `status` of #1, and the word is the status of
                                             another order, or the prompt lists both words together

A number or a word that cannot be laid beside a value of the very same name proves nothing, and is let pass. Both
rules read what tools gave as JSON; the names (`available`, `status`) are the tools' own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TypeAlias

from watchllm_proxy.records import Call, ToolResult
from watchllm_proxy.sessionize import turns

MAX_OUTPUTS = 20
MAX_OUTPUT_CHARS = 200_000
MAX_STATED = 20
MAX_COUNTED = 200
MAX_DEPTH = 4
"""A list that lies deeper in an output is not what an answer sums up."""

Json: TypeAlias = object
Object: TypeAlias = dict[str, Json]

_COUNTED = re.compile(r"(?<![\w.,$€£#-])(\d{1,6})((?:[ *_]+[A-Za-z][\w'-]*){1,4})")
_DIGIT = re.compile(r"\d")
_WORD = re.compile(r"[A-Za-z][\w'-]*")
# Words are read from their beginning, and no further than this; what was read is not read otherwise (`+` after a
# count): an answer may hold a megabyte of letters, or a bracket that nobody closes.
_LETTERS_OF_A_WORD = "[A-Za-z]{1,40}+"
_ID = r"#?(?=[^\W\d]{0,64}\d)\w{1,64}+(?!\w)"
_STATED_BEFORE = re.compile(
    rf"(?<![A-Za-z])({_LETTERS_OF_A_WORD})[*_]{{0,4}}(?: {_LETTERS_OF_A_WORD})?[*_]{{0,4}}"
    rf" \(({_ID}(?:(?:, and |, | and ){_ID})*+)\)"
)  # delivered orders (#1 and #2)
_STATED_AFTER = re.compile(rf"(?<!\w)({_ID})[*_]{{0,4}} \(({_LETTERS_OF_A_WORD})\)")  # order #1 (delivered)
_IDS = re.compile(_ID)
_LETTERS = re.compile(r"[a-z_]+")
_ENUMERATION = re.compile(
    r"""(?<![a-z_])['"`]?[a-z_]{1,40}+['"`]?(?:(?:, (?:or |and )?| or |\||/)['"`]?[a-z_]{1,40}+['"`]?)++"""
)
_NUMBERED = re.compile(r"#(?=\d+\b)")
"""Where we speak, #12 is a step: an order of that number is written without."""

_STATE = re.compile(r"[A-Za-z]{3,30}")
_NOT_SAID = frozenset({"is", "has"})
"""`is_available` is what people call available."""


def contradiction(call: Call) -> str | None:
    """A sentence; None: nothing is proved."""
    text = call.answer.text if call.answer is not None and not call.is_failed else ""
    if not _DIGIT.search(text) or not any(message.tool_results for message in call.messages):
        return None  # both rules begin with one
    proved = next(_wrong_counts(text, call), None) or next(_wrong_states(text, call), None)
    return None if proved is None else _NUMBERED.sub("", proved)


# --- numbers ----------------------------------------------------------------------------------------


def _wrong_counts(text: str, call: Call) -> Iterator[str]:
    results = [got for got in turns.new_tool_results(call) if "true" in got.text or "false" in got.text]
    counted = islice(_COUNTED.finditer(text), MAX_COUNTED) if results else ()
    said = [(int(found[1]), _words(found[2]), found[0]) for found in counted]
    if not said:
        return
    for output in _read(results):
        of_output = {found for each in _lists(output) for found in _counts(each)}
        for number, words, phrase in said:
            counts = {(name, count, of) for name, count, of in of_output if words >= name}
            if counts and number not in {count for _, count, _ in counts}:
                name, count, of = min(counts, key=lambda each: (abs(each[1] - number), sorted(each[0])))
                told = f"the tool gave {of}, and {count} of them are {' '.join(sorted(name))}"
                yield f'It says "{_up_to(phrase, name)}": {told}.'


def _up_to(phrase: str, name: frozenset[str]) -> str:
    parts = phrase.split()
    last = max((at for at, part in enumerate(parts) if _words(part) & name), default=len(parts) - 1)
    return " ".join(parts[: last + 1])


def _lists(value: Json, depth: int = 0) -> Iterator[list[Object]]:
    """Lists of objects, and objects whose values all are objects: `{"item 1": {…}, "item 2": {…}}`."""
    if depth > MAX_DEPTH:
        return
    parts = _parts(value)
    objects = [each for each in parts if isinstance(each, dict)]
    if len(objects) == len(parts) >= 2:
        yield objects
    for part in parts:
        yield from _lists(part, depth + 1)


def _counts(objects: list[Object]) -> Iterator[tuple[frozenset[str], int, int]]:
    """(its name in words, how many are it, of how many): of each yes or no that all of them tell."""
    for key in objects[0]:
        values = [each.get(key) for each in objects]
        if all(isinstance(value, bool) for value in values):
            name = frozenset(re.split(r"[\W_]+", key.lower())) - _NOT_SAID - {""}
            if name:
                yield name, sum(value is True for value in values), len(values)


# --- states -----------------------------------------------------------------------------------------


def _wrong_states(text: str, call: Call) -> Iterator[str]:
    said = list(islice(_stated(text), MAX_STATED)) if " (" in text else []
    if not said:
        return
    results = [
        got for got in turns.tool_results_newest_first(call) if any(name in got.text for name, _, _ in said)
    ]
    prompt = turns.system_text(call).lower()
    for key, states in _states(results).items():
        for name, word, phrase in said:
            told = states.get(name)
            if told is None or told == word:
                continue
            if word in states.values() or _are_listed_together(told, word, prompt):
                yield f'It says "{phrase}": the tools gave {told} as the {key} of {name}.'


def _stated(text: str) -> Iterator[tuple[str, str, str]]:
    """(id, what it is said to be, the words)"""
    if " (" not in text:  # most of all texts
        return
    for found in _STATED_BEFORE.finditer(text):
        for name in _IDS.findall(found[2]):
            yield name, found[1].lower(), found[0]
    for found in _STATED_AFTER.finditer(text):
        yield found[1], found[2].lower(), found[0]


def _states(results: list[ToolResult]) -> dict[str, dict[str, str]]:
    """By key, the word that objects have there, by their id: as the newest output has it."""
    states: dict[str, dict[str, str]] = {}
    for output in _read(results):
        for each in _objects(output):
            name = next((value for key, value in each.items() if _is_id(key, value)), None)
            for key, value in each.items():
                if isinstance(name, str) and isinstance(value, str) and _STATE.fullmatch(value):
                    states.setdefault(key, {}).setdefault(name, value.lower())
    return states


def _is_id(key: str, value: Json) -> bool:
    return (key == "id" or key.endswith("_id")) and isinstance(value, str) and bool(_IDS.fullmatch(value))


def _are_listed_together(one: str, other: str, prompt: str) -> bool:
    """In the system prompt, as in "its status is 'pending', 'processed' or 'delivered'"."""
    return one in prompt and any(
        {one, other} <= set(_LETTERS.findall(found[0])) for found in _ENUMERATION.finditer(prompt)
    )


# --- what tools gave --------------------------------------------------------------------------------


def _read(results: Iterable[ToolResult]) -> Iterator[Json]:
    for got in islice(results, MAX_OUTPUTS):
        text = got.text.strip()
        if text[:1] in {"{", "["} and len(text) <= MAX_OUTPUT_CHARS:
            with suppress(ValueError, RecursionError):
                yield json.loads(text)


def _objects(value: Json, depth: int = 0) -> Iterator[Object]:
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        yield value
    for part in _parts(value):
        yield from _objects(part, depth + 1)


def _parts(value: Json) -> list[Json]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _words(text: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _WORD.findall(text))
