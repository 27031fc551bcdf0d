"""The words of the pages for the vocabulary's closed sets, each as a table that must be complete."""

from __future__ import annotations

import re
from collections.abc import Iterable

from watchllm_proxy.console.formats import count_of
from watchllm_proxy.enrich.redaction.kinds import RedactionKind
from watchllm_proxy.records import Flag, FlagKind, Link, LinkKind, RunStatus, StepType

_STATUS = {
    RunStatus.RUNNING: "Running",
    RunStatus.COMPLETED: "Done",
    RunStatus.FAILED: "Failed",
    RunStatus.CANCELLED: "Cancelled",
    RunStatus.ABANDONED: "Abandoned",
}
_FLAG = {
    FlagKind.LOOP_DETECTED: "loop",
    FlagKind.REPEATED_TOOL: "repeated tool",
    FlagKind.HIGH_COST_STEP: "high cost",
    FlagKind.CACHE_MISS_RETRY: "cache miss",
    FlagKind.TIMEOUT_RETRY: "timeout retry",
    FlagKind.ERROR_FALLBACK: "fallback",
    FlagKind.PROMPT_MUTATION: "prompt changed",
    FlagKind.EMPTY_TOOL_OUTPUT: "empty output",
    FlagKind.PROMPT_CACHE_BREAK: "cache broken",
    FlagKind.HUGE_TOOL_OUTPUT: "huge output",
    FlagKind.TRUNCATED_ANSWER: "answer cut off",
    FlagKind.SLOW_STEP: "slow",
    FlagKind.BUDGET_EXCEEDED: "over budget",
    FlagKind.UNUSED_TOOLS: "unused tools",
    FlagKind.CONTRADICTION: "contradiction",
}
_LINK = {
    LinkKind.EXPLICIT_RUN: "The client named this run",
    LinkKind.EXPLICIT_SESSION: "The client named this session",
    LinkKind.EXPLICIT_PARENT: "The client named the parent run",
    LinkKind.EXPLICIT_AGENT: "The client named this agent of its session",
    LinkKind.TRACE: "Same trace as an earlier call",
    LinkKind.PREVIOUS_RESPONSE: "Answers a response of an earlier call",
    LinkKind.CONVERSATION: "Same conversation as an earlier call",
    LinkKind.ISSUED_ID: "Uses an id that the upstream gave to an earlier call",
    LinkKind.RETRY: "The same request as an earlier, failed call",
    LinkKind.HISTORY: "Goes on with a conversation as it stood after an earlier call",
    LinkKind.TOOL_ARGUMENT: "Was given an argument of a tool call that is still open",
    LinkKind.TOOL_RESULT: "Its answer came back as the result of a tool call",
    LinkKind.RETURNED_TEXT: "Repeats what only an earlier call had produced",
    LinkKind.FORKED_FROM: "Another call went on from the same state before",
    LinkKind.PERSON: "A person put it here",
    LinkKind.NEW_RUN: "Nothing ties it to an earlier call: it starts this run",
}
_SHAPE = {
    StepType.USER_INPUT: "user",
    StepType.DECISION: "model",
    StepType.MODEL_RESPONSE: "answer",
    StepType.TOOL_CALL: "tool",
    StepType.TOOL_RESULT: "result",
    StepType.ERROR: "error",
    StepType.RETRY: "retry",
}


_REDACTED = {
    RedactionKind.API_KEY: ("API key", "API keys"),
    RedactionKind.PRIVATE_KEY: ("private key", "private keys"),
    RedactionKind.JWT: ("token", "tokens"),
    RedactionKind.PASSWORD: ("password", "passwords"),
    RedactionKind.EMAIL: ("e-mail address", "e-mail addresses"),
    RedactionKind.PHONE: ("telephone number", "telephone numbers"),
    RedactionKind.CARD: ("card number", "card numbers"),
    RedactionKind.IBAN: ("bank account", "bank accounts"),
    RedactionKind.NATIONAL_ID: ("identity number", "identity numbers"),
    RedactionKind.IP_ADDRESS: ("IP address", "IP addresses"),
    RedactionKind.CUSTOM: ("value of the project's own rules", "values of the project's own rules"),
    RedactionKind.DROPPED: ("text cut short", "texts cut short"),
}


def redaction_note(counts: Iterable[tuple[str, int]]) -> str | None:
    """ "1 API key, 3 e-mail addresses redacted"; None where nothing was."""
    parts = [count_of(count, *_kind_words(kind)) for kind, count in counts]
    return f"{', '.join(parts)} redacted" if parts else None


def _kind_words(kind: str) -> tuple[str, str]:
    """Of one, and of several. Of a project's own rule by its name, and of an unknown kind too."""
    if kind in _REDACTED:
        return _REDACTED[RedactionKind(kind)]
    name = kind.removeprefix(f"{RedactionKind.CUSTOM}.")
    return f"{name} value", f"{name} values"


def status_label(status: RunStatus) -> str:
    return _STATUS[status]


def outcome_label(status: RunStatus, errors: int) -> str:
    """How a run stands, and what failed on the way: "Done, 5 errors". "Failed" says that by itself."""
    label = status_label(status)
    return label if not errors or status is RunStatus.FAILED else f"{label}, {count_of(errors, 'error')}"


def flag_label(flag: Flag | FlagKind) -> str:
    return _FLAG[flag.kind if isinstance(flag, Flag) else flag]


_THRESHOLD = {
    "loop_times": "A loop: the same call so many times",
    "repeated_tool_times": "A repeated tool: so many different arguments",
    "high_cost_share": "A dear step: this share of its run (0 to 1)",
    "high_cost_usd": "A dear step, whatever the run: US dollars",
    "high_cost_times": "A dear step for its agent: times what is usual",
    "run_budget_usd": "A run over its budget: US dollars",
    "huge_output_chars": "A huge tool output: characters",
    "slow_step_s": "A slow step: seconds",
}


def threshold_label(name: str) -> str:
    """Of what a project may choose for its flags."""
    return _THRESHOLD[name]


def link_sentence(link: Link) -> str:
    return _LINK[link.kind]


def step_shape(type: StepType) -> str:
    """The name of the glyph that tells a step's kind; colour alone never does."""
    return _SHAPE[type]


_STEP_REFERENCE = re.compile(r"(?i)#\d{1,6}\b|\bsteps? \d{1,6}(?:(?:,? and |, )\d{1,6})*\b")
_NUMBER = re.compile(r"\d+")


def step_references(text: str) -> list[tuple[str, int | None]]:
    """`text` cut into pieces, each with the step it names, if it does: "step 17", "steps 3, 5 and 8", "#17"."""
    numbers = [
        number
        for reference in _STEP_REFERENCE.finditer(text)
        for number in _NUMBER.finditer(text, reference.start(), reference.end())
    ]
    pieces: list[tuple[str, int | None]] = []
    start = 0
    for number in numbers:
        pieces += [(text[start : number.start()], None), (number[0], int(number[0]))]
        start = number.end()
    pieces.append((text[start:], None))
    return [piece for piece in pieces if piece[0]]
