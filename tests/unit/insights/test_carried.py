"""What messages cost, directly and carried: the parts are the whole, to a picodollar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.decode.exchanges import CHAT, decoded
from watchllm_proxy.insights.carried import CarriedCosts, carried_costs
from watchllm_proxy.records import Call, Cost, CostSource, SentCall, SentMessage, Step, StepType, Usage

TINY = Decimal("1e-9")


def message(name: str, role: str = "user", size: int = 400, *results: tuple[str, int]) -> SentMessage:
    return SentMessage(name, "messages", role, size, results)


class Talk:
    """Requests one after the other, each with its whole conversation."""

    def __init__(self, model: str = "gpt-4o-mini") -> None:
        self.model = model
        self.calls: list[SentCall] = []
        self._line: list[SentMessage] = []

    def ask(
        self,
        *line: SentMessage,
        read: int | None,
        wrote: int | None = 0,
        cached: int | None = None,
        usd: str | None = "1",
        answer: str | None = None,
    ) -> Call:
        kept = 0
        while kept < min(len(line), len(self._line)) and line[kept] == self._line[kept]:
            kept += 1
        number = len(self.calls) + 1
        plain = decoded(CHAT, {"model": self.model, "messages": []}, {"model": self.model, "choices": []})
        call = replace(
            plain,
            call_id=UUID(int=number),
            usage=Usage(read, wrote, cache_read_input_tokens=cached),
            cost=Cost(Decimal(usd) if usd else None, CostSource.UPSTREAM if usd else CostSource.UNKNOWN),
        )
        self.calls.append(SentCall(call, kept, line[kept:], answer))
        self._line = list(line)
        return call

    def costs(self, steps: Sequence[Step] = ()) -> CarriedCosts:
        return carried_costs(self.calls, steps)


def by_role(found: CarriedCosts) -> dict[str, tuple[float, float, int]]:
    """(direct, carried, times) of each role, where each comes once."""
    return {e.role: (float(e.direct_usd), float(e.carried_usd), e.carried_times) for e in found.messages}


SYSTEM, USER = message("s", "system"), message("u")
# gpt-4o-mini: $0.15 in, $0.075 cached, $0.60 out a million


def test_one_request_is_paid_by_its_messages_in_share_of_their_length_and_by_its_answer() -> None:
    talk = Talk()
    talk.ask(SYSTEM, replace(USER, size=1200), read=400, wrote=100, usd="0.00012")
    found = by_role(talk.costs())
    assert found["system"] == (pytest.approx(100 * 0.15e-6), 0, 0)
    assert found["user"] == (pytest.approx(300 * 0.15e-6), 0, 0)
    assert found["assistant"] == (pytest.approx(100 * 0.60e-6), 0, 0)


def test_a_tool_output_is_paid_again_in_each_later_request() -> None:
    talk = Talk()
    ask, output = message("a", "assistant"), message("t", "tool", 4000, ("id-1", 4000))
    talk.ask(USER, read=100, wrote=10, usd="0.000021", answer="a")
    for number in range(3):
        talk.ask(
            USER, ask, output, *[message(f"x{n}", "user", 4) for n in range(number)],
            read=1110 + number, usd=str(Decimal("0.15e-6") * (1110 + number)),
        )  # fmt: skip
    tool = next(e for e in talk.costs().messages if e.role == "tool")
    assert tool.carried_times == 2
    assert float(tool.carried_usd) == pytest.approx(2 * float(tool.direct_usd))
    assert tool.tokens == pytest.approx(1010 * 4000 / 4400, abs=1)


def test_what_a_request_grew_by_is_what_its_new_messages_have() -> None:
    talk = Talk()
    talk.ask(SYSTEM, read=5000, usd="1")
    talk.ask(SYSTEM, USER, read=5700, usd="1")
    tokens = {e.role: e.tokens for e in talk.costs().messages if e.role in {"system", "user"}}
    assert tokens == {"system": 5000, "user": 700}


def test_an_answer_costs_what_writing_it_cost_and_all_its_sending_is_carried() -> None:
    talk = Talk()
    talk.ask(USER, read=100, wrote=50, usd="0.000045", answer="a")
    talk.ask(USER, message("a", "assistant"), USER, read=250, usd=str(Decimal("0.15e-6") * 250))
    answer = next(e for e in talk.costs().messages if e.role == "assistant" and e.carried_times)
    assert answer.call_id == UUID(int=1)
    assert float(answer.direct_usd) == pytest.approx(50 * 0.60e-6)
    assert float(answer.carried_usd) == pytest.approx(75 * 0.15e-6)


@pytest.mark.parametrize("parts", [1, 3])
def test_an_answer_that_comes_back_rewritten_or_in_parts_is_still_the_answer(parts: int) -> None:
    talk = Talk()
    talk.ask(USER, read=100, wrote=50, answer="as it was written")
    back = [message(f"as the framework sends it {n}", "assistant") for n in range(parts)]
    talk.ask(USER, *back, message("next"), read=500)
    carried = [e for e in talk.costs().messages if e.role == "assistant" and e.carried_times == 1]
    assert len(carried) == parts
    assert {e.call_id for e in carried} == {UUID(int=1)}


def test_cached_messages_are_cheap_from_the_beginning_on() -> None:
    talk = Talk()
    talk.ask(SYSTEM, USER, read=200, cached=150, usd=str(Decimal("0.075e-6") * 150 + Decimal("0.15e-6") * 50))
    found = by_role(talk.costs())
    assert found["system"][0] == pytest.approx(100 * 0.075e-6)
    assert found["user"][0] == pytest.approx(50 * 0.075e-6 + 50 * 0.15e-6), "the cache ends in the middle of it"


def test_a_history_that_is_cached_carries_at_the_price_of_the_cache() -> None:
    talk = Talk()
    first = talk.ask(SYSTEM, read=1000, usd=str(Decimal("0.15e-6") * 1000))
    usd = Decimal("0.075e-6") * 1000 + Decimal("0.15e-6") * 100
    talk.ask(SYSTEM, USER, read=1100, cached=1000, usd=str(usd))
    found = by_role(talk.costs())
    assert found["system"] == (pytest.approx(150e-6), pytest.approx(75e-6), 1)
    assert found["user"] == (pytest.approx(15e-6), 0, 0)
    assert first.call_id == UUID(int=1)


def test_the_same_output_twice_is_two_messages_and_the_same_message_again_is_one() -> None:
    talk = Talk()
    ok = message("ok", "tool", 40, ("id", 40))
    talk.ask(USER, ok, ok, read=120)
    talk.ask(USER, ok, ok, SYSTEM, read=220)
    assert [e.carried_times for e in talk.costs().messages if e.role == "tool"] == [1, 1]


def test_a_compacted_history_and_its_return_are_carried_by_the_same_messages() -> None:
    talk = Talk()
    long = [message(f"m{n}") for n in range(10)]
    talk.ask(*long, read=1000)
    talk.ask(long[0], message("summary"), read=200)
    talk.ask(*long, read=1000)
    found = {e.tokens: e.carried_times for e in talk.costs().messages if e.role == "user"}
    times = [e.carried_times for e in talk.costs().messages if e.role == "user"]
    assert sorted(times) == [0, *[1] * 9, 2], found


def test_a_model_that_nobody_lists_is_split_as_is_usual_and_says_so() -> None:
    talk = Talk("my-own-model")
    talk.ask(USER, read=400, wrote=100, usd="0.8")
    found = talk.costs()
    assert found.is_split_estimated
    assert by_role(found)["user"][0] == pytest.approx(0.4)  # 400 tokens of weight 1, 100 of weight 4
    assert not Talk().costs().is_split_estimated


def test_an_unpriced_call_costs_its_messages_nothing() -> None:
    talk = Talk()
    talk.ask(USER, read=100, wrote=1, usd=None)
    assert talk.costs().total_usd == 0


@pytest.mark.parametrize(
    ("read", "line"), [(None, [USER]), (100, []), (0, [USER]), (100, [replace(USER, size=0)])]
)
def test_a_cost_that_no_message_can_be_blamed_for_is_the_calls_own(
    read: int | None, line: list[SentMessage]
) -> None:
    talk = Talk()
    talk.ask(*line, read=read, wrote=None, usd="0.5")
    assert abs(talk.costs().total_usd - Decimal("0.5")) < TINY


# --- by step


def step(index: int, kind: StepType, call: int | None, tool_call_id: str | None = None) -> Step:
    call_id = None if call is None else UUID(int=call)
    is_priced = kind in {StepType.DECISION, StepType.MODEL_RESPONSE}
    return Step(index, kind, 0, 0, False, "", call_id, tool_call_id=tool_call_id, is_priced=is_priced)


def test_each_part_stands_with_the_step_that_brought_it_up() -> None:
    talk = Talk()
    output = message("t", "tool", 4000, ("id-1", 4000))
    talk.ask(SYSTEM, USER, read=200, wrote=10, answer="a")
    talk.ask(SYSTEM, USER, message("a", "assistant"), output, read=1300, wrote=5)
    steps = [
        step(0, StepType.USER_INPUT, 1),
        step(1, StepType.DECISION, 1),
        step(2, StepType.TOOL_CALL, 1, "id-1"),
        step(3, StepType.MODEL_RESPONSE, 2),
    ]
    found = talk.costs(steps)
    assert set(found.steps) == {0, 1, 2, 3}
    assert found.steps[0].carried_times == 1
    assert found.steps[2].carried_usd == 0
    assert found.steps[2].direct_usd > found.steps[3].direct_usd
    assert abs(sum(e.direct_usd + e.carried_usd for e in found.steps.values()) - 2) < TINY


def test_results_of_several_tools_in_one_message_share_it_by_length() -> None:
    """As Anthropic's dialect has it."""
    talk = Talk()
    both = message("r", "user", 1000, ("id-1", 750), ("id-2", 250))
    talk.ask(both, read=100, usd="0.4")
    steps = [step(0, StepType.TOOL_CALL, None, "id-1"), step(1, StepType.TOOL_CALL, None, "id-2")]
    found = talk.costs(steps)
    assert float(found.steps[0].direct_usd) == pytest.approx(0.3)
    assert float(found.steps[1].direct_usd) == pytest.approx(0.1)


# --- always


MESSAGES = st.builds(
    lambda number, role: message(f"m{number}" if role == "assistant" else f"{role} {number}", role, number * 97),
    st.integers(0, 12),
    st.sampled_from(["system", "user", "assistant", "tool"]),
)
REQUESTS = st.lists(
    st.tuples(
        st.lists(MESSAGES, max_size=12),
        st.none() | st.integers(0, 10_000),
        st.none() | st.integers(0, 500),
        st.none() | st.integers(0, 12_000),
        st.none() | st.sampled_from(["0", "0.000123", "3"]),
        st.none() | st.sampled_from(["m1", "m2"]),
    ),
    max_size=12,
)


@given(REQUESTS)
@settings(max_examples=300, deadline=None)
def test_the_parts_always_add_up_to_what_the_calls_cost(requests: list[tuple[object, ...]]) -> None:
    talk = Talk()
    for line, read, wrote, cached, usd, answer in requests:
        talk.ask(*line, read=read, wrote=wrote, cached=cached, usd=usd, answer=answer)  # type: ignore[misc, arg-type]
    found = talk.costs()
    total = sum((sent.call.cost.usd or 0 for sent in talk.calls), Decimal(0))
    assert abs(found.total_usd - total) < TINY
    assert all(e.direct_usd >= -TINY and e.carried_usd >= -TINY for e in found.messages)


def test_a_long_conversation_is_charged_in_one_pass() -> None:
    """Work is counted, not time: marks are read only when a history is cut."""
    talk = Talk()
    line: list[SentMessage] = []
    for number in range(400):
        line.append(message(f"m{number}"))
        talk.ask(*line, read=100 * (number + 1), usd="0.01")
    found = talk.costs()
    assert sum(len(sent.new) for sent in talk.calls) == 400
    assert abs(found.total_usd - 4) < TINY
    first = next(e for e in found.messages if e.call_id == UUID(int=1) and e.role == "user")
    assert first.carried_times == 399
