"""What every message of a run has cost: once where it came up, and again in each later request that carried it.

A call's cost is split between what it read and what it wrote by the prices of its model (of a cached token and of
others), or where no list knows those by what is usual; then between the messages that it read by how many tokens
each has. Parts add up to the run's total. Tokens of single messages are nobody's figure: those that come new with
a request share what its input grew by, so only the shares among them are estimated, by their length.

One pass over what is new in each request: a history of thousands of messages is charged by two marks at its ends.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from watchllm_proxy.enrich.prices import marginals_of
from watchllm_proxy.records import Call, SentCall, SentMessage, Step, StepType

USUAL_CACHED, USUAL_OUTPUT = 0.25, 4.0
"""Of an input token's price, where nobody tells: what a cached and what a written token costs."""

BYTES_PER_TOKEN = 4
_PICODOLLAR = Decimal("1e-12")


@dataclass(frozen=True, slots=True)
class MessageCost:
    """`direct_usd`: as input of the first request that sent it; of an answer of this run, what writing it cost.
    `carried_usd`: as input of all later requests, `carried_times` of them."""

    call_id: UUID  # that request's call; of an answer, the call that wrote it
    step_index: int | None  # the step that stands for it
    role: str
    tokens: int  # estimated
    direct_usd: Decimal
    carried_usd: Decimal
    carried_times: int


@dataclass(frozen=True, slots=True)
class StepCost:
    """What a step brought up has cost. Of the steps of a run all parts add up to its total."""

    direct_usd: Decimal
    carried_usd: Decimal
    carried_times: int


@dataclass(frozen=True, slots=True)
class CarriedCosts:
    messages: tuple[MessageCost, ...]
    steps: dict[int, StepCost]
    direct_usd: Decimal
    carried_usd: Decimal
    is_split_estimated: bool  # the model of some call is in no list: what is usual stood in for its prices

    @property
    def total_usd(self) -> Decimal:
        return self.direct_usd + self.carried_usd


def carried_costs(calls: Sequence[SentCall], steps: Sequence[Step]) -> CarriedCosts:
    """`calls`: all of the run, in the order they began in; `steps`: its steps by index."""
    ledger = _Ledger()
    is_estimated = False
    for sent in calls:
        rates = _rates(sent.call)
        is_estimated = is_estimated or rates.is_usual
        ledger.take(sent, rates)
    ledger.close()
    places = _Places(steps)
    messages = tuple(cost for entry in ledger.entries for cost in _message_costs(entry, places))
    by_step = _by_step(messages)
    return CarriedCosts(
        messages,
        by_step,
        sum((each.direct_usd for each in messages), Decimal(0)),
        sum((each.carried_usd for each in messages), Decimal(0)),
        is_estimated,
    )


# --- what a token of a call cost --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rates:
    """US dollars for one token of a call, such that all its tokens cost what the call cost."""

    fresh: float
    cached: float
    written_usd: float  # for all that it wrote
    total_usd: float
    is_usual: bool


def _rates(call: Call) -> _Rates:
    usage = call.usage
    cost = float(call.cost.usd or 0)
    read, written = usage.input_tokens or 0, usage.output_tokens or 0
    cached = min(usage.cache_read_input_tokens or 0, read)
    known = marginals_of(call) if cost and read else None
    fresh_price = float(known["input_tokens"]) if known and known.get("input_tokens") else 0.0
    if known is not None and fresh_price:
        cached_price = max(0.0, fresh_price + float(known.get("cache_read_tokens", 0)))
        written_price = float(known.get("output_tokens", 0))
    else:
        fresh_price, cached_price, written_price = 1.0, USUAL_CACHED, USUAL_OUTPUT
    weight = (read - cached) * fresh_price + cached * cached_price + written * written_price
    if not weight:
        return _Rates(0.0, 0.0, cost, cost, is_usual=False)
    scale = cost / weight
    is_usual = bool(cost) and known is None
    return _Rates(fresh_price * scale, cached_price * scale, written * written_price * scale, cost, is_usual)


# --- who pays ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Entry:
    """One message, however often it was sent."""

    call: Call  # that sent it first; of an answer, that wrote it
    message: SentMessage | None  # None: an answer that was not sent again
    tokens: float
    is_answer: bool = False
    direct: float = 0.0
    carried: float = 0.0
    times: int = 0


class _Came(NamedTuple):
    """A message of a request that was not in the one before."""

    entry: _Entry
    is_first: bool  # it was never sent, and no call of the run wrote it
    is_unsized: bool  # how many tokens it has is still to be told


class _Ledger:
    """The messages of the latest request, in order.

    What a token at a position of it was charged since it stands there is the sum of all `_marks` up to that
    position, and how often is that of `_sends`: so to charge a whole history takes two marks.
    """

    def __init__(self) -> None:
        self.entries: list[_Entry] = []
        self._line: list[_Entry] = []
        self._reach: list[float] = []  # tokens up to and with each position
        self._marks = [0.0]
        self._sends = [0]
        self._known: dict[tuple[str, int], _Entry] = {}  # by content, and the how-manieth of it in a request
        self._standing: Counter[str] = Counter()  # contents of the line
        self._answers: dict[str, _Entry] = {}  # by content
        self._latest: _Entry | None = None  # answer

    def take(self, sent: SentCall, rates: _Rates) -> None:
        kept = min(sent.kept, len(self._line))
        latest = self._latest if kept == len(self._line) else None
        self._cut(kept)
        came: list[_Came] = []
        for message in sent.new:
            if message.role != "assistant":
                latest = None  # an answer comes back right behind the request that got it, in one message or more
            came.append(self._arrival(message, sent.call, latest))
        unsized = [each.entry for each in came if each.is_unsized]
        before = self._tokens + sum(each.entry.tokens for each in came if not each.is_unsized)
        _share_tokens(unsized, (sent.call.usage.input_tokens or 0) - before)
        self._append([each.entry for each in came])
        self._charge(sent.call, rates, kept, {id(each.entry) for each in came if each.is_first})
        self._note_answer(sent, rates)

    def close(self) -> None:
        self._cut(0)

    @property
    def _tokens(self) -> float:
        return self._reach[-1] if self._reach else 0.0

    def _arrival(self, message: SentMessage, call: Call, latest: _Entry | None) -> _Came:
        """`latest`: the answer that this may be, written otherwise or not, or a part of."""
        key = (message.content_hash, self._standing[message.content_hash])
        self._standing[message.content_hash] += 1
        if key in self._known:
            return _Came(self._known[key], is_first=False, is_unsized=False)
        answer = self._answers.get(message.content_hash, latest)
        if answer is None:
            entry = _Entry(call, message, 0.0)
        elif answer.message is None:
            entry = answer
            entry.message = message
        else:
            entry = _Entry(answer.call, message, 0.0, is_answer=True)
        if entry is not answer:
            self.entries.append(entry)
        self._known[key] = entry
        return _Came(entry, is_first=answer is None, is_unsized=True)

    def _append(self, entries: Sequence[_Entry]) -> None:
        for entry in entries:
            self._reach.append(self._tokens + entry.tokens)
            self._line.append(entry)
            self._marks.append(0.0)
            self._sends.append(0)

    def _charge(self, call: Call, rates: _Rates, kept: int, firsts: set[int]) -> None:
        """Split what the request cost among its messages; their tokens are stretched to what was counted."""
        read = call.usage.input_tokens or 0
        stretch = read / self._tokens if self._tokens else 0.0
        cached = min(call.usage.cache_read_input_tokens or 0, read) / stretch if stretch else 0.0
        edge = bisect_right(self._reach, cached)  # positions before it are cached, that at it in part
        fresh, old = rates.fresh * stretch, rates.cached * stretch
        self._mark(0, min(edge, kept), old)
        self._mark(min(edge, kept), kept, fresh)
        self._sends[0] += 1
        self._sends[kept] -= 1
        if edge < len(self._line):
            self._charge_edge(edge, cached, old - fresh, kept, firsts)
        for at in range(kept, len(self._line)):
            self._charge_one(self._line[at], self._line[at].tokens * (old if at < edge else fresh), firsts)
            self._count_one(self._line[at], firsts)

    def _charge_edge(self, edge: int, cached: float, difference: float, kept: int, firsts: set[int]) -> None:
        """The message in which what was cached ends was charged as if it were fresh."""
        begins = self._reach[edge - 1] if edge else 0.0
        entry = self._line[edge]
        if edge < kept:
            entry.carried += (cached - begins) * difference
        else:
            self._charge_one(entry, (cached - begins) * difference, firsts)

    def _charge_one(self, entry: _Entry, usd: float, firsts: set[int]) -> None:
        if id(entry) in firsts:
            entry.direct += usd
        else:
            entry.carried += usd

    def _count_one(self, entry: _Entry, firsts: set[int]) -> None:
        if id(entry) not in firsts:
            entry.times += 1

    def _mark(self, start: int, end: int, usd_per_token: float) -> None:
        self._marks[start] += usd_per_token
        self._marks[end] -= usd_per_token

    def _cut(self, kept: int) -> None:
        """The line is only that long from here on: what the rest was charged is theirs."""
        if kept == len(self._line):
            return
        charge, times = 0.0, 0
        at_cut = (0.0, 0)
        for at, entry in enumerate(self._line):
            if at == kept:
                at_cut = (charge, times)
            charge += self._marks[at]
            times += self._sends[at]
            if at >= kept:
                entry.carried += charge * entry.tokens
                entry.times += times
                self._standing[entry.message.content_hash if entry.message else ""] -= 1
        del self._line[kept:], self._reach[kept:], self._marks[kept:], self._sends[kept:]
        self._marks.append(-at_cut[0])
        self._sends.append(-at_cut[1])

    def _note_answer(self, sent: SentCall, rates: _Rates) -> None:
        answer = _Entry(sent.call, None, float(sent.call.usage.output_tokens or 0), is_answer=True)
        answer.direct = rates.written_usd if self._tokens else rates.total_usd  # nobody else could pay
        self.entries.append(answer)
        if sent.answer_hash is not None:
            self._answers[sent.answer_hash] = answer
        self._latest = answer


def _share_tokens(entries: Sequence[_Entry], tokens: float) -> None:
    """What a request grew by, shared by length. Where it did not grow, or nobody counted, their length alone."""
    sizes = [entry.message.size if entry.message else 0 for entry in entries]
    total = sum(sizes)
    each = tokens / total if tokens > 0 and total else 1 / BYTES_PER_TOKEN
    for entry, size in zip(entries, sizes, strict=True):
        entry.tokens = size * each


# --- whose it is ------------------------------------------------------------------------------------


class _Places:
    """Which step stands for a message: that of the tool call whose result it is, that of the user's words, else
    that of the call that sent it or wrote it."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._model: dict[UUID, int] = {}
        self._tools: dict[str, int] = {}
        self._users: defaultdict[UUID, deque[int]] = defaultdict(deque)
        for step in steps:
            if step.call_id is not None and step.is_priced:
                self._model[step.call_id] = step.step_index
            if step.tool_call_id:
                self._tools[step.tool_call_id] = step.step_index
            if step.call_id is not None and step.type is StepType.USER_INPUT:
                self._users[step.call_id].append(step.step_index)

    def of_call(self, call_id: UUID) -> int | None:
        return self._model.get(call_id)

    def of_tool(self, tool_call_id: str, call_id: UUID) -> int | None:
        return self._tools.get(tool_call_id, self.of_call(call_id))

    def of_user(self, call_id: UUID) -> int | None:
        """The user messages of a request come in the order of their steps."""
        waiting = self._users.get(call_id)
        return waiting.popleft() if waiting else self.of_call(call_id)


def _message_costs(entry: _Entry, places: _Places) -> Iterator[MessageCost]:
    message, call_id = entry.message, entry.call.call_id
    if message is not None and message.tool_results and not entry.is_answer:
        whole = sum(size for _, size in message.tool_results) or 1
        for tool_call_id, size in message.tool_results:
            yield _cost(entry, places.of_tool(tool_call_id, call_id), size / whole)
        return
    is_user = message is not None and message.role == "user" and not entry.is_answer
    yield _cost(entry, places.of_user(call_id) if is_user else places.of_call(call_id), 1.0)


def _cost(entry: _Entry, step_index: int | None, share: float) -> MessageCost:
    return MessageCost(
        entry.call.call_id,
        step_index,
        "assistant" if entry.message is None else entry.message.role,
        round(entry.tokens * share),
        _usd(entry.direct * share),
        _usd(entry.carried * share),
        entry.times,
    )


def _usd(value: float) -> Decimal:
    return Decimal(value).quantize(_PICODOLLAR)


def _by_step(messages: Iterable[MessageCost]) -> dict[int, StepCost]:
    costs: dict[int, StepCost] = {}
    for each in messages:
        if each.step_index is not None:
            before = costs.get(each.step_index, NO_COST)
            costs[each.step_index] = StepCost(
                before.direct_usd + each.direct_usd,
                before.carried_usd + each.carried_usd,
                max(before.carried_times, each.carried_times),
            )
    return costs


NO_COST = StepCost(Decimal(0), Decimal(0), 0)
