"""What a call leaves behind to be recognised by where no id comes back: texts, tasks (and `histories`).

Each is the value of one stored anchor: words in hexadecimal, so that the index is restored from rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate

import orjson

from watchllm_proxy.records import Anchor, Call, Message, ToolCall, record
from watchllm_proxy.sessionize import fingerprints, steps, turns
from watchllm_proxy.sessionize.clients import Client
from watchllm_proxy.sessionize.fingerprints import Fingerprints
from watchllm_proxy.sessionize.recent import once_a_call

SKETCH_SIZE = 24  # fingerprints of one line
MAX_FINGERPRINTS = 48  # of one text, in all lines
MAX_LINES = 8
MIN_LINE_FINGERPRINTS = 2  # shorter lines are phrases that many texts share
MIN_LINE_WORDS = fingerprints.WORDS_IN_A_ROW + MIN_LINE_FINGERPRINTS - 1
MIN_LINE_CHARACTERS = 2 * MIN_LINE_WORDS - 1  # of ASCII: so many words and what is between them
TASK_SKETCH_SIZE = 16
MAX_TASKS = 8
"""String arguments of one tool call that are remembered."""

MIN_TASK_CHARACTERS = 8
"""Shorter arguments ("Oslo", "EUR") name things, not tasks."""

MAX_OBSERVED_CHARACTERS = 1024
"""Of a tool's output: its beginning is enough to know it by."""

MAX_REMEMBERED_MARKS = 8192
"""Of those last looked at, the fingerprints are kept at hand: up to 2 KB each. Equal texts make all of them
candidates, call after call."""

MAX_SEARCHED_CHARACTERS = 64 * 1024


@record
class Mark:
    """The value of an anchor, read. `parts`: the state, the sketch of the text, or a sketch for each task."""

    client: Client
    key: str  # unique for the anchor
    parts: tuple[tuple[int, ...], ...]

    @classmethod
    def read(cls, anchor: Anchor) -> Mark:
        return _mark(anchor.value)

    @property
    def tokens(self) -> frozenset[int]:
        return frozenset().union(*self.parts)


@lru_cache(maxsize=MAX_REMEMBERED_MARKS)
def _mark(value: str) -> Mark:
    address, hashes, key, *parts = value.split(" ")
    return Mark(Client.read(address, hashes), key, tuple(map(fingerprints.unpacked, parts)))


Left = tuple[str, set[int]]
"""The value of an anchor that is made, and its tokens: they need not be read from it again."""


def tokens_of(anchor: Anchor) -> tuple[int, ...]:
    """All of `Mark.read(anchor)`, some more than once, and nothing else of it: a restart asks this of tens of
    thousands."""
    packed = anchor.value.split(" ", 3)
    return fingerprints.unpacked(packed[3]) if len(packed) > 3 else ()


def connection_of(anchor: Anchor) -> tuple[str, str]:
    """Host and port of `Mark.read(anchor).client`, and nothing else of it."""
    host, _, port = anchor.value.partition(" ")[0].rpartition(":")
    return host, port


def said_mark(call: Call) -> Left | None:
    """What the answer says and its request did not: an answer that repeats the question proves nothing."""
    text = _answer_text(call)
    if not text:
        return None
    request = "\n".join([message.text for message in call.messages])
    new_lines = [line for line in text.splitlines() if not ((said := line.strip()) and said in request)]
    return _text_mark(sender(call), _sketched("\n".join(new_lines), _asked(call)))


def asked_mark(call: Call) -> Left | None:
    """A prompt that stands alone, and the lines that its answer added: a text protocol renders the whole task
    anew for each step, with what was answered so far somewhere in the middle."""
    text = _answer_text(call) if stands_alone(call) else ""
    if not text:
        return None
    asked = prompt_fingerprints(call)
    lines = sorted(lines_of(text) - lines_of(_prompt(call)))[:MAX_LINES]
    if not asked or not lines:
        return None
    return _text_mark(sender(call), [fingerprints.sketch(asked, SKETCH_SIZE), *((n,) for n in lines)])


def stands_alone(call: Call) -> bool:
    """It tells of no earlier answer and offers no tools: a lone question, or a step of a text protocol."""
    return not call.tool_names and not turns.has_past(call)


def prompt_fingerprints(call: Call) -> Fingerprints:
    return fingerprints.fingerprints(_prompt(call))


@once_a_call
def prompt_lines(call: Call) -> frozenset[int]:
    return lines_of(_prompt(call))


def lines_of(text: str) -> frozenset[int]:
    """A fingerprint for each whole line of at least two words."""
    return frozenset(found for line in text.splitlines() if (found := fingerprints.of_line(line)) is not None)


@once_a_call
def _prompt(call: Call) -> str:
    return "\n".join([m.text for m in turns.parts(call).users])[-fingerprints.MAX_TEXT_CHARACTERS :]


@once_a_call
def _answer_text(call: Call) -> str:
    """What the answer says, and what it hands in through a tool made for that."""
    if call.is_failed or call.answer is None:
        return ""
    handed_in = (text for t in call.answer.tool_calls if t.name in steps.OUTPUT_TOOLS for text in _tasks(t))
    return "\n".join([call.answer.text, *handed_in])[: fingerprints.MAX_TEXT_CHARACTERS]


def observed_mark(call: Call) -> Left | None:
    """What tools answered to the call before, as this request brings it."""
    texts = [result.text for result in turns.new_tool_results(call)] + list(turns.observations(call))
    return _text_mark(sender(call), _sketched("\n".join(texts)[:MAX_OBSERVED_CHARACTERS], ()))


def _sketched(text: str, known: Sequence[Fingerprints]) -> list[tuple[int, ...]]:
    """A sketch of the text and one of each line that is long enough to be told from others, the longest first:
    a text comes back whole or by the line, with something else before and after it."""
    pieces = _pieces(text)
    sketches = [
        fingerprints.sketch(found, SKETCH_SIZE)
        for found in pieces
        if len(found) >= MIN_LINE_FINGERPRINTS and not _is_known(found, known)
    ]
    kept = sum(1 for total in accumulate(map(len, sketches)) if total <= MAX_FINGERPRINTS)
    return sketches[: max(kept, 1)]


def _pieces(text: str) -> list[Fingerprints]:
    """Of the text, and of its longest lines that have enough words. A short text's are at hand: a tool's output is
    looked up as it stands, too. Of a longer one this is a part."""
    lines = text.splitlines()
    distinct = set(lines)
    is_short = len(text) < MAX_OBSERVED_CHARACTERS
    if len(distinct) < 2:
        return [fingerprints.fingerprints(text) if is_short else fingerprints.of_words(fingerprints.words(text))]
    whole, of_lines = fingerprints.of_text_and_lines(text, lines, min_words=MIN_LINE_WORDS, is_kept=is_short)
    if not of_lines:
        return [whole]
    among = distinct if len(distinct) > MAX_LINES else of_lines
    longest = sorted(sorted(among), key=len, reverse=True)[:MAX_LINES]
    return [whole, *[of_lines[line] for line in longest if line in of_lines]]


def task_mark(call: Call, tool: ToolCall) -> Left | None:
    """The string arguments of a tool call."""
    tasks = _tasks(tool)
    if not tasks:
        return None
    known = _asked(call)
    sketches = [_sketched_task(text, known) for text in tasks]
    key = (tool.tool_call_id or "").replace(" ", "_")
    return _text_mark(f"{sender(call)}/{key}", sketches)


def _sketched_task(text: str, known: Sequence[Fingerprints]) -> tuple[int, ...]:
    """A task that only quotes the request is recognised where it is the whole message, not a part of one:
    the same question may be asked of many agents."""
    found = fingerprints.fingerprints(text)
    sketched = fingerprints.sketch(found, TASK_SKETCH_SIZE)
    whole = fingerprints.of_line(text) if _is_known(found, known) else None
    return sketched if whole is None else (*sketched, whole)


def task_fingerprints(text: str) -> Fingerprints:
    """Of a message that may hold a task, or be one."""
    whole = fingerprints.of_line(text)
    found = fingerprints.fingerprints(text)
    return found if whole is None else found | {whole}


def task_share(sketched: Sequence[int], present: Fingerprints) -> float:
    """How much of a message a task makes that it holds: of the fingerprints that a sketch of this size could have
    kept, those which it did."""
    is_whole = len(sketched) < TASK_SKETCH_SIZE
    comparable = [found for found in present if is_whole or found <= max(sketched)]
    return len(sketched) / len(comparable)


@once_a_call
def sender(call: Call) -> str:
    """How the marks of a call begin: its client, and its own id."""
    return f"{Client.of(call)} {call.call_id}"


def _text_mark(name: str, sketches: Sequence[Sequence[int]]) -> Left | None:
    """`name`: what the mark begins with."""
    parts = [fingerprints.packed(found) for found in sketches if found]
    return (" ".join([name, *parts]), set().union(*sketches)) if parts else None


@once_a_call
def _asked(call: Call) -> list[Fingerprints]:
    """What the program and the user said: the system prompt, the first user messages, and the newest."""
    parts = turns.parts(call)
    asked = (*parts.system, *parts.users[:2], *parts.users[2:][-2:])
    return [fingerprints.fingerprints(message.text) for message in asked]


def _is_known(found: Fingerprints, known: Sequence[Fingerprints]) -> bool:
    """As a rule the first is in none of them."""
    for one in found:
        for texts in known:
            if one in texts:
                break
        else:
            return False
    return True


def _tasks(tool: ToolCall) -> list[str]:
    try:
        arguments = _loads(tool.arguments)
    except (ValueError, RecursionError):
        arguments = tool.arguments
    texts = (text for text in _strings(arguments, depth=3) if len(text) >= MIN_TASK_CHARACTERS)
    return list(dict.fromkeys(texts))[:MAX_TASKS]


def _loads(text: str) -> object:
    try:
        return orjson.loads(text)  # in a fifth of the time
    except orjson.JSONDecodeError:  # stricter: lone surrogates, NaN
        return json.loads(text)


def _strings(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth > 0 and isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner, depth - 1)
    elif depth > 0 and isinstance(value, list):
        for inner in value:
            yield from _strings(inner, depth - 1)


# --- reading a request ----------------------------------------------------------------------------


@once_a_call
def searched(call: Call) -> list[tuple[Message, Fingerprints]]:
    """The conversation's messages and their fingerprints, newest first, up to a bound."""
    found = []
    budget = MAX_SEARCHED_CHARACTERS
    for message in reversed([m for m in call.messages if not turns.is_system(m) and m.slot != "tools"]):
        if budget <= 0:
            break
        budget -= len(message.text)
        found.append((message, fingerprints.fingerprints(message.text)))
    return found
