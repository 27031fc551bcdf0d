"""The shapes that reading the stores answers in: what the console and the command line show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from watchllm_proxy.records import (
    Api,
    CallError,
    Cost,
    ExchangeEnd,
    Flag,
    FlagKind,
    Link,
    Run,
    RunStatus,
    Usage,
)


class RunSort(StrEnum):
    """Order of a list of runs; a leading minus is descending. Unknown figures come last."""

    NEWEST = "-started_at"
    OLDEST = "started_at"
    DEAREST = "-cost"
    CHEAPEST = "cost"
    LONGEST = "-duration"
    SHORTEST = "duration"
    MOST_STEPS = "-steps"
    FEWEST_STEPS = "steps"


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs, in which order. None means "any". `q` is looked for in title, agent and run id."""

    limit: int = 20
    offset: int = 0
    status: RunStatus | None = None
    agent: str | None = None
    flag: FlagKind | None = None
    session: str | None = None
    user: str | None = None
    q: str | None = None
    since_us: int | None = None
    until_us: int | None = None
    sort: RunSort = RunSort.NEWEST
    with_chats: bool = False  # also runs that are a lone chat, not an agent's
    with_errors: bool = False  # only runs with an error, however they ended


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as a list shows it."""

    run: Run
    flags: tuple[Flag, ...] = ()
    version: str | None = field(default=None, compare=False)
    """Another whenever the run or its steps are stored anew; None: not told, as in lists."""


@dataclass(frozen=True, slots=True)
class RunList:
    """One page of runs and how many match in all; where they are too many to count, `total` is less than that."""

    rows: tuple[RunRow, ...]
    total: int
    is_total_exact: bool = True


@dataclass(frozen=True, slots=True)
class Peer:
    """A run as far as another run of the same agent is compared with it."""

    run_id: str
    title: str | None
    status: RunStatus
    total_cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Around:
    """What stands around a run: `children`, oldest first, and the newest runs of the same agent."""

    children: Sequence[RunRow] = ()
    peers: Sequence[Peer] = ()


@dataclass(frozen=True, slots=True)
class RunCounts:
    """What the filters of the list offer, counted over the newest runs: `store.reading.MAX_COUNTED` of them."""

    by_status: Mapping[RunStatus, int]
    agents: tuple[tuple[str, int], ...]  # name and number of runs, most first, at most 200


@dataclass(frozen=True, slots=True)
class CallRow:
    """A call as `watchllm tail` shows it: figures, no text."""

    call_id: UUID
    run_id: str | None
    api: Api
    method: str
    target: str
    started_at_us: int
    duration_us: int
    http_status: int | None
    end: ExchangeEnd
    agent_name: str | None
    request_model: str | None
    response_model: str | None
    usage: Usage
    cost: Cost
    error: CallError | None


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message of a stored request: where it sat, and the JSON value that sat there."""

    slot: str
    content: bytes


Through = Callable[[UUID, bytes], bytes]
"""What the parts of a call and its answer are put through before the request is rebuilt: JSON for JSON."""


def unchanged(_: UUID, part: bytes) -> bytes:
    return part


@dataclass(frozen=True, slots=True)
class CallDetail:
    """A stored call, whole. `request` and `answer` are JSON texts; None where nothing could be rebuilt."""

    row: CallRow
    provider_name: str | None
    is_stream: bool
    time_to_first_token_us: int | None
    finish_reasons: tuple[str, ...]
    response_id: str | None
    user_agent: str | None
    request_bytes: int
    response_bytes: int
    request: bytes | None
    answer: bytes | None
    response_metadata: bytes | None
    opaque_reason: str | None
    is_truncated: bool
    links: tuple[Link, ...]
    redacted: tuple[tuple[str, int], ...] = ()  # values behind tags, by kind
