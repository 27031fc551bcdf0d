"""What a run is called: its title, its agent's name and version, read from the first request."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b

from watchllm_proxy.records import Api, Call
from watchllm_proxy.sessionize import turns
from watchllm_proxy.sessionize.recent import once_a_call
from watchllm_proxy.sessionize.turns import UserInput

TITLE_CHARS = 200
SUMMARY_CHARS = 500
NAME_CHARS = 60

_NAME_PATTERNS = tuple(
    (word, re.compile(pattern, re.IGNORECASE))
    for word, pattern in (
        ("name", r"^\s*(?:agent\s+)?name\s*[:=]\s*[\"'“]?(?P<name>[^\n\"'”.,;]{2,60})"),
        ("your", r"\byour name is\s+[\"'“]?(?P<name>[^\n\"'”.,;!]{2,60})"),
        (
            "you",
            r"\byou are\s+"
            r"(?!(?:designed|tasked|given|going|now|here|about|to|in|not|able|working|responsible)\b)"
            r"(?:an?\s+|the\s+)?[\"'“]?(?P<name>[^\n\"'”.,;:!(]{2,60})",
        ),
        ("act", r"\b(?:act|acting)\s+as\s+(?:an?\s+|the\s+)?(?P<name>[^\n.,;:!(]{2,60})"),
    )
)
"""Each with a word that must be there, in small letters: looking for that takes a hundredth of the time."""

_NAME_ENDS = re.compile(r"\s+(?:that|who|which|with|designed|built|tasked|specialized|for the)\b.*", re.I)
_HEAD_CHARS = 2_000
_MASKED_CHARS = 65_536
"""Looking for volatile words takes half a second a megabyte: a hostile prompt would hold up everybody."""

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_PART_OF_A_UUID = re.compile(r"-[0-9a-f]{4}-")
_VOLATILE_WORD = r"""
    \b (?=[0-9a-z]) (?:                                              # once for all: most places are no boundary
        [0-9a-f]{16,}\b                                              # hash or long hex id
      | \d{4}-\d{2}-\d{2}(?:[t\ ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:z|[+-]\d{2}:?\d{2})?)?
      | \d{1,2}[/.]\d{1,2}[/.]\d{2,4}\b
      | \d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:\s*[ap]m)?\b
      | (?:mon|tues|wednes|thurs|fri|satur|sun)day\b,?
      | (?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?\s+\d{1,2}(?:st|nd|rd|th)?(?:,?\s+\d{4})?\b
      | \d{1,2}\s+(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?(?:,?\s+\d{4})?\b
      | [a-z]+[_-](?=[a-z]*\d)[a-z0-9]{10,}\b                        # sess_8f3k2…
      | \d{6,}\b                                                     # counters, epoch seconds
    )
"""
_VOLATILE = re.compile(f"{_UUID} | {_VOLATILE_WORD}", re.IGNORECASE | re.VERBOSE)
_VOLATILE_SMALL = re.compile(f"{_UUID} | {_VOLATILE_WORD}", re.VERBOSE)
_VOLATILE_SMALL_WORD = re.compile(_VOLATILE_WORD, re.VERBOSE)

_NEIGHBOURS = re.compile(r"·(?:[\s,]+(?:at\s+)?·)+")


def cut(text: str, max_chars: int) -> str:
    """At most `max_chars` characters, an ellipsis at the end where something is missing."""
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def title(call: Call, inputs: tuple[UserInput, ...]) -> str:
    """The user message that set the run off. Harnesses put blocks of context before it: `<environment…>`."""
    texts = [user_input.text.strip() for user_input in inputs] or _other_texts(call)
    texts = [text for text in texts if text]
    spoken = [text for text in texts if not text.startswith("<")]
    if spoken or texts:
        return cut((spoken or texts)[0], TITLE_CHARS)
    return cut(f"{call.method} {call.target.split('?', 1)[0]}", TITLE_CHARS)


def _other_texts(call: Call) -> list[str]:
    if call.api is Api.EMBEDDINGS:
        return [m.text.strip() for m in call.messages]
    return [message.text.strip() for message in turns.parts(call).users]


@once_a_call
def agent_name(call: Call) -> str | None:
    """The client's word; else the name in the system prompt; else its first words with a hash; else None."""
    if call.agent_name:
        return cut(call.agent_name, NAME_CHARS)
    prompt = turns.system_text(call)[:_HEAD_CHARS]
    if not prompt.strip():
        return None
    small = prompt.lower()
    for word, pattern in _NAME_PATTERNS:
        found = pattern.search(prompt) if word in small else None
        name = _NAME_ENDS.sub("", found["name"]).strip(" *_#\"'`") if found else ""
        if len(name) >= 2:
            return name
    words = re.findall(r"[A-Za-z0-9]+", prompt)[:3]
    return "-".join([*(word.lower() for word in words), _short_hash(_masked(prompt).encode())[:4]])


@once_a_call
def agent_version(call: Call) -> str | None:
    """The client's word, else a hash that changes with the system prompt or the tools, not with the clock."""
    if call.agent_version:
        return cut(call.agent_version, NAME_CHARS)
    prompt = turns.system_text(call)
    # By their content as it is kept: a call that is read back says the same of itself, also where it was redacted.
    schemas = b"".join([message.content_hash for message in call.messages if message.slot == "tools"])
    if not prompt and not schemas:
        return None
    return _version(prompt, schemas)


@lru_cache(maxsize=128)
def _version(prompt: str, schemas: bytes) -> str:
    return _short_hash(_masked(prompt).encode() + b"\0" + schemas)


@lru_cache(maxsize=128)
def _masked(text: str) -> str:
    """Volatile words gone, from its beginning; a weekday, a date and a time in a row count as one."""
    return _NEIGHBOURS.sub("·", _without_volatile(text[:_MASKED_CHARS])) + text[_MASKED_CHARS:]


def _without_volatile(text: str) -> str:
    """A "·" in the place of each. Found in small letters, and without looking for a UUID at each place where there
    is none, in a quarter of the time: a long prompt takes longer than all else that is read of its first call."""
    if not text.isascii():  # small letters may be more, or other ones
        return _VOLATILE.sub("·", text)
    small = text.lower()
    volatile = _VOLATILE_SMALL if _PART_OF_A_UUID.search(small) else _VOLATILE_SMALL_WORD
    kept, end = [], 0
    for found in volatile.finditer(small):
        kept.append(text[end : found.start()])
        end = found.end()
    return "·".join([*kept, text[end:]])


def _short_hash(data: bytes) -> str:
    return blake2b(data, digest_size=4).hexdigest()
