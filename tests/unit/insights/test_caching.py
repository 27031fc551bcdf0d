from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.insights.test_carried import SYSTEM, USER, Talk, message
from watchllm_proxy.insights.caching import (
    cache_breaks,
    first_difference,
    readable,
    saved_by_cache_usd,
    with_characters,
)

# gpt-4o-mini: $0.15 in, $0.075 cached a million


def test_a_changed_message_breaks_the_prefix_and_is_named() -> None:
    talk = Talk()
    talk.ask(SYSTEM, USER, read=5000, cached=0)
    talk.ask(SYSTEM, USER, message("x"), read=6000, cached=4096)
    talk.ask(SYSTEM, message("u, edited"), message("x"), read=6000, cached=1024)
    (found,) = cache_breaks(talk.calls)
    assert (found.call_id, found.previous_call_id) == (UUID(int=3), UUID(int=2))
    assert (found.tokens_lost, found.message_index) == (3072, 1)
    assert found.usd_lost == 3072 * Decimal("0.075e-6")
    assert found.previous == USER
    assert found.message is not None
    assert found.message.content_hash == "u, edited"


def test_a_cache_that_is_gone_by_itself_accuses_no_message() -> None:
    talk = Talk()
    talk.ask(SYSTEM, read=5000, cached=4096)
    talk.ask(SYSTEM, USER, read=5100, cached=0)
    (found,) = cache_breaks(talk.calls)
    assert (found.tokens_lost, found.message_index, found.message) == (4096, None, None)


def test_a_shorter_request_loses_no_more_money_than_it_read_fresh() -> None:
    talk = Talk()
    talk.ask(SYSTEM, USER, read=9000, cached=8192)
    talk.ask(SYSTEM, message("u, edited"), read=3000, cached=1000)
    (found,) = cache_breaks(talk.calls)
    assert found.tokens_lost == 7192
    assert found.usd_lost == 2000 * Decimal("0.075e-6")


@pytest.mark.parametrize(
    ("before", "after"), [(None, 0), (4096, None), (0, 0), (4096, 4096), (4096, 8192), (4096, 4096 - 1023)]
)
def test_what_was_not_told_or_hardly_fell_is_no_break(before: int | None, after: int | None) -> None:
    talk = Talk()
    talk.ask(SYSTEM, read=9000, cached=before)
    talk.ask(SYSTEM, USER, read=9000, cached=after)
    assert cache_breaks(talk.calls) == ()


def test_another_model_or_another_conversation_has_another_cache() -> None:
    talk = Talk()
    talk.ask(SYSTEM, read=9000, cached=8192)
    talk.ask(message("another system", "system"), read=9000, cached=0)
    assert cache_breaks(talk.calls) == ()
    talk.ask(message("another system", "system"), USER, read=9000, cached=8192)
    talk.ask(message("another system", "system"), USER, read=9000, cached=0)
    other = replace(talk.calls[-1].call, request_model="gpt-4o")
    assert cache_breaks([*talk.calls[:-1], replace(talk.calls[-1], call=other)]) == ()


def test_a_model_that_nobody_lists_loses_tokens_and_nobody_knows_how_much_money() -> None:
    talk = Talk("my-own")
    talk.ask(SYSTEM, read=9000, cached=8192)
    talk.ask(SYSTEM, USER, read=9000, cached=0)
    (found,) = cache_breaks(talk.calls)
    assert (found.tokens_lost, found.usd_lost) == (8192, None)
    assert saved_by_cache_usd(talk.calls) is None


def test_what_the_cache_saved_is_the_difference_of_prices() -> None:
    talk = Talk()
    talk.ask(SYSTEM, read=9000, cached=8192)
    talk.ask(SYSTEM, USER, read=9000, cached=None)
    assert saved_by_cache_usd(talk.calls) == 8192 * Decimal("0.075e-6")


def test_writing_to_the_cache_costs_more_and_is_set_against_it() -> None:
    talk = Talk("claude-sonnet-4-5")
    call = talk.ask(SYSTEM, read=9000, cached=1000)
    usage = replace(call.usage, cache_creation_input_tokens=4000)
    sent = replace(talk.calls[0], call=replace(call, usage=usage))
    # read: $3 - $0.30, written: $3.75 - $3 a million
    assert saved_by_cache_usd([sent]) == (1000 * Decimal("2.7") - 4000 * Decimal("0.75")) / 1_000_000


def test_a_run_without_a_cache_saved_nothing_that_is_known() -> None:
    talk = Talk()
    talk.ask(SYSTEM, read=9000, cached=0)
    assert saved_by_cache_usd(talk.calls) is None
    assert saved_by_cache_usd([]) is None


@given(st.text(), st.text(), st.text())
def test_texts_part_at_their_first_different_character(common: str, one: str, other: str) -> None:
    at = first_difference(common + one, common + other)
    assert at >= len(common)
    assert (common + one)[:at] == (common + other)[:at]
    assert (common + one)[at : at + 1] != (common + other)[at : at + 1] or common + one == common + other


def test_the_character_that_broke_the_prefix_is_told_where_the_messages_are_known() -> None:
    talk = Talk()
    talk.ask(SYSTEM, message("before"), read=5000, cached=4096)
    talk.ask(SYSTEM, message("after"), read=5000, cached=0)
    found = cache_breaks(talk.calls)
    contents = {
        "before": b'{"content": "Today is Monday.", "role": "user"}',
        "after": b'{"content": "Today is Tuesday.", "role": "user"}',
    }
    assert [each.character for each in with_characters(found, contents)] == [len("Today is ")]
    assert [each.character for each in with_characters(found, {"after": contents["after"]})] == [None]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'{"content":"Hi","role":"user"}', "Hi"),
        (b'{"content":[{"text":"Hi"}],"role":"user"}', '{"content":[{"text":"Hi"}],"role":"user"}'),
        (b'"Hi"', "Hi"),
        (b"[1]", "[1]"),
    ],
)
def test_a_messages_text_is_read_where_it_is_one_text(content: bytes, text: str) -> None:
    assert readable(content) == text
