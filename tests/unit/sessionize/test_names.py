"""Titles, agent names and versions."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import CallBuilder, message
from watchllm_proxy.sessionize import names, turns


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("You are a travel assistant. Use the tools.", "travel assistant"),
        ("You are Claude Code, Anthropic's CLI.", "Claude Code"),
        ("You are an expert that fixes bugs.", "expert"),
        ("name: order-bot\nrole: helper", "order-bot"),
        ("Your name is 'Ada'. Be kind.", "Ada"),
        ("You are designed to help. You are the expert Q&A system.", "expert Q&A system"),
        ("Act as a senior editor, please.", "senior editor"),
    ],
)
def test_a_name_is_read_from_the_system_prompt(prompt: str, name: str) -> None:
    assert names.agent_name(CallBuilder()(user="Hi", system=prompt)) == name


def test_a_prompt_without_a_name_gives_its_first_words_and_a_stable_hash() -> None:
    name = names.agent_name(CallBuilder()(user="Hi", system="Translate everything into Danish."))
    assert name is not None
    assert name.startswith("translate-everything-into-")
    assert name == names.agent_name(CallBuilder()(user="Other", system="Translate everything into Danish."))


def test_no_prompt_no_name_and_the_clients_word_counts_most() -> None:
    assert names.agent_name(CallBuilder()(user="Hi", system=None)) is None
    assert names.agent_name(CallBuilder()(user="Hi", agent="billing", system="You are Bob.")) == "billing"


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-01-15T10:00:00Z",
        "2026-11-22 23:59",
        "March 3, 2026",
        "3 March 2026",
        "Tuesday, 12:30 pm",
        "01/02/2026",
        "1768471200",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "9f86d081884c7d659a2feaa0c55ad015",
    ],
)
def test_a_clock_or_an_id_in_the_prompt_changes_no_version(stamp: str) -> None:
    def version(text: str) -> str | None:
        return names.agent_version(CallBuilder()(user="Hi", system=f"You are Bob. It is {text}. Be kind."))

    assert version(stamp) == version("2025-06-01")


def test_other_words_or_other_tools_change_the_version() -> None:
    call = CallBuilder()
    versions = {
        names.agent_version(call(user="Hi", system="You are Bob. Be kind.")),
        names.agent_version(call(user="Hi", system="You are Bob. Be brief.")),
        names.agent_version(call(user="Hi", system="You are Bob. Be kind.", tools=["a"])),
    }
    assert len(versions) == 3
    assert names.agent_version(call(user="Hi", version="v7")) == "v7"


def test_the_title_is_the_users_first_message_cut_to_size() -> None:
    call = CallBuilder()(user="x" * 300)
    assert names.title(call, turns.user_inputs(call)) == "x" * 199 + "…"


def test_blocks_of_context_that_a_harness_puts_first_are_no_title() -> None:
    call = CallBuilder()(
        history=[message("user", "<environment_context>cwd</environment_context>"), message("user", "Fix the bug")]
    )
    assert names.title(call, turns.user_inputs(call)) == "Fix the bug"


def test_a_request_without_a_word_is_called_by_its_path() -> None:
    call = CallBuilder()(history=[])
    assert names.title(call, ()) == "POST /v1/chat/completions"


def test_a_huge_prompt_has_a_version_in_no_time_and_its_end_counts() -> None:
    call, prompt = CallBuilder(), "?a" * 2_000_000
    started_s = time.process_time()
    versions = {names.agent_version(call(user="Hi", system=prompt + end)) for end in ("", "b")}
    assert time.process_time() - started_s < 20  # read again for each word it would take hours
    assert len(versions) == 2


_PIECES = (
    "Monday",
    "monDay,",
    "Jan",
    "jan. 12th, 2024",
    "12 AUG 2023",
    "2024-01-02T10:20:30.5Z",
    "123E4567-e89b-12d3-A456-426614174000",
    "-1234-",
    "DEADBEEFDEADBEEF",
    "sess_8F3k2abcdefg",
    "12:30 PM",
    "3/4/2024",
    "1234567",
    "\x1c",
    "é",
    "ſunday",
    " ",
    "_",
    ".",
)


@given(st.lists(st.sampled_from(_PIECES), max_size=9).map("".join))
def test_volatile_words_are_found_however_they_are_looked_for(text: str) -> None:
    """In small letters, and without UUIDs where there is none: much faster, and no other words."""
    assert names._without_volatile(text) == names._VOLATILE.sub("·", text)
