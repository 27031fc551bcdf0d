from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.decode.exchanges import CHAT, MESSAGES, RESPONSES, exchange
from watchllm_proxy.decode import KnownMessages, canonical, decode, request
from watchllm_proxy.decode.growing import MAX_ALIKE, MAX_ENTRY_BYTES, GrowingRequests, beginning
from watchllm_proxy.decode.mentions import MAX_TEXT_IDS
from watchllm_proxy.records import Call

TOOLS = [{"type": "function", "function": {"name": "look_up", "description": "Looks [things] up."}}]
TURNS: list[dict[str, Any]] = [
    {"role": "system", "content": "You are careful."},
    {"role": "user", "content": 'What is in {"messages": [note_4f8941d3f250]}?'},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1234567890ab", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ],
    },
    {"role": "tool", "tool_call_id": "call_1234567890ab", "content": "]}, {"},
    {"role": "assistant", "content": "nothing"},
]
WRITERS: list[Callable[[Any], bytes]] = [
    lambda value: json.dumps(value).encode(),
    lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(),
    lambda value: json.dumps(value, indent=2).encode(),
]


def _request(raw: bytes | str, known: KnownMessages | None, target: str = CHAT) -> Call:
    sent = raw if isinstance(raw, bytes) else raw.encode()
    return decode(exchange(target, sent), known=known)


def _growing(writer: Callable[[Any], bytes], slot: str = "messages", **after: Any) -> list[bytes]:
    return [
        writer({"model": "m", slot: TURNS[:count], "tools": TOOLS, **after}) for count in range(2, len(TURNS) + 1)
    ]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What had to be parsed, text by text."""
    texts: list[bytes] = []

    def parse(raw: bytes) -> Any:
        texts.append(raw)
        return canonical.parse(raw)

    monkeypatch.setattr(request, "parse", parse)
    return texts


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(("target", "slot"), [(CHAT, "messages"), (RESPONSES, "input"), (MESSAGES, "messages")])
def test_only_what_is_new_in_a_request_is_parsed(
    writer: Callable[[Any], bytes], target: str, slot: str, parsed: list[bytes]
) -> None:
    known = KnownMessages()
    raws = _growing(writer, slot, temperature=0.2)

    found = [_request(raw, known, target) for raw in raws]

    assert [json.loads(text) for text in parsed[1:]] == [[[turn]] for turn in TURNS[2:]]
    assert found == [_request(raw, None, target) for raw in raws]


def test_the_same_request_again_is_not_parsed(parsed: list[bytes]) -> None:
    known = KnownMessages()
    raws = [raw for raw in _growing(WRITERS[0]) for _ in range(3)]

    found = [_request(raw, known) for raw in raws]

    assert len(parsed) == len(raws) / 3
    assert found == [_request(raw, None) for raw in raws]


def test_conversations_that_begin_alike_grow_side_by_side(parsed: list[bytes]) -> None:
    known = KnownMessages()
    others = [[*TURNS[:2], {"role": "assistant", "content": f"{n}"}] for n in range(MAX_ALIKE)]
    raws = [WRITERS[0]({"messages": said[:count], "tools": TOOLS}) for count in (3, 3) for said in others]
    later = [WRITERS[0]({"messages": [*said, TURNS[1]], "tools": TOOLS}) for said in others]

    for raw in (*raws, *later):
        assert _request(raw, known) == _request(raw, None)

    assert [text for text in parsed if text.startswith(b"[[")] == [
        b"[[ " + WRITERS[0](TURNS[1]) + b"]]" for _ in later
    ]


@pytest.mark.parametrize(
    ("former", "later"),
    [
        ('{"messages":[]}', '{"messages":[,{"role":"user"}]}'),  # there was nothing before the comma
        ('{"messages":[{"role":"user"}]}', '{"messages":[{"role":"user"},]}'),
        ('{"messages":[{"role":"user"}]}', '{"messages":[{"role":"user"}, ]}'),
        ('{"messages":[{"role":"user"}]}', '{"messages":[{"role":"user"},{"role":"user"]}'),
        ('{"messages":[{"role":"user"}]}', '{"messages":[{"role":"user"},{"role":"user"}],"seed":[1]}'),
        ('{"messages":[{"role":"user"}],"m":1}', '{"messages":[{"role":"user"},1],"m":2,"m":1}'),
        ('{"messages":[{"role":"user"}]}', '{"messages":[{"role":"user"},{"a":1,"a":2}]}'),
        ('{"messages":[{"role":"user"}]}', '{"messages":[{"role":"user"},123456789012345678901]}'),
        ('{"messages":[1,2],"stop":[3]}', '{"messages":[1,2],"stop":[3,4]}'),
        ('{"tools":[{"a":[1]}],"messages":[1]}', '{"tools":[{"a":[1,2]}],"messages":[1]}'),
        ('{"messages":[{"content":["a"]}]}', '{"messages":[{"content":["a","b"]}]}'),
        ('{"messages":["a]"],"stop":"b"}', '{"messages":["a,"]"],"stop":"b"}'),
        ('{"messages":["a]}"]}', '{"messages":["a,b]}"]}'),
        ('{"messages":["a"  ,  "b"]}', '{"messages":["a","c"  ,  "b"]}'),
        ('{"input":[1],"model":"m"}', '{"input":[1,2],"model":"m"}'),
        ('{"prompt":["a"]}', '{"prompt":["a","b"]}'),
        ('[{"messages":[1]}]', '[{"messages":[1,2]}]'),
    ],
)
@pytest.mark.parametrize("target", [CHAT, RESPONSES, MESSAGES, "/v1/completions", "/v1/embeddings"])
def test_what_only_looks_like_growth_is_read_as_it_stands(target: str, former: str, later: str) -> None:
    known = KnownMessages()

    for raw in (former, later, later, former, later):
        assert _request(raw, known, target) == _request(raw, None, target)


_TEXT = st.sampled_from(["", "x", "]", "],", '"', "\\", "}]}", ", {", "user", "é", "\n"]) | st.text(max_size=8)
_MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool"]), "content": _TEXT})
_STEP = st.tuples(st.integers(0, 3), st.lists(_MESSAGE | _TEXT, max_size=3))
"""How many messages are taken back, and what is said then."""


@given(st.sampled_from(WRITERS), st.lists(_STEP, max_size=8), _TEXT, st.booleans())
def test_however_a_conversation_goes_it_is_read_as_if_it_were_the_first(
    writer: Callable[[Any], bytes], steps: list[tuple[int, list[Any]]], stop: str, is_last: bool
) -> None:
    known = KnownMessages()
    said: list[Any] = []
    for taken_back, more in steps:
        said = [*said[: len(said) - taken_back], *more]
        body = {"messages": said} if is_last else {"messages": said, "stop": [stop], "tools": TOOLS}
        raw = writer(body)

        assert _request(raw, known) == _request(raw, None)


@given(st.lists(_MESSAGE, min_size=1, max_size=4), st.data())
def test_bytes_put_anywhere_into_a_known_request_are_read_as_they_stand(
    said: list[Any], data: st.DataObject
) -> None:
    known = KnownMessages()
    raw = WRITERS[1]({"messages": said, "stop": ["]"]})
    at = data.draw(st.integers(0, len(raw)))
    put = data.draw(st.sampled_from([b",1", b",{}", b', "a"', b"]", b",", b",1]", b',"a],[1', b"],[1", b",1],[2"]))
    changed = raw[:at] + put + raw[at:]

    for one in (raw, WRITERS[1]({"messages": [*said, 1], "stop": ["]"]}), raw, changed, changed):
        assert _request(one, known) == _request(one, None)


def test_a_conversation_with_too_many_ids_names_the_last_ones_as_ever() -> None:
    known = KnownMessages()
    said = [
        {"role": "user", "content": " ".join(f"word_{n:08d}_{m}" for m in range(9))} for n in range(MAX_TEXT_IDS)
    ]

    for count in (50, 54, 57, 58, 60):
        raw = WRITERS[0]({"messages": said[:count]})
        assert _request(raw, known) == _request(raw, None)


def _body(number: int, size: int) -> bytes:
    return b'{"messages":[{"role":"user","content":"%d%s"}]}' % (number, b"x" * size)


def _is_known(requests: GrowingRequests[int], raw: bytes) -> bool:
    return requests.find(beginning(raw), raw) is not None


def test_memory_is_bounded_and_what_was_not_asked_for_longest_is_forgotten_first() -> None:
    requests: GrowingRequests[int] = GrowingRequests(max_bytes=20_000)
    for number in range(10):
        requests.put(beginning(_body(number, 1000)), _body(number, 1000), number)

    assert [number for number in range(10) if _is_known(requests, _body(number, 1000))] == [6, 7, 8, 9]


def test_what_a_request_grows_by_counts() -> None:
    requests: GrowingRequests[int] = GrowingRequests(max_bytes=20_000)
    for number in range(4):
        requests.put(beginning(_body(number, 1000)), _body(number, 1000), number)
    grown = _body(3, 1000).replace(b"}]", b"},%s]" % (b'"%s"' % (b"y" * 3000)))
    found = requests.find(beginning(grown), grown)
    assert found is not None

    requests.grow(found[0], grown, 3)

    assert [number for number in range(3) if _is_known(requests, _body(number, 1000))] == [2]
    assert _is_known(requests, grown)


def test_of_those_that_begin_alike_the_latest_are_kept() -> None:
    requests: GrowingRequests[int] = GrowingRequests(max_bytes=1_000_000)
    bodies = [b'{"messages":[{"role":"user"},%d]}' % number for number in range(100, 110)]
    for body in bodies:
        requests.put(b"", body, 0)

    assert [requests.find(b"", body) is not None for body in bodies] == [False] * 6 + [True] * MAX_ALIKE


def test_a_huge_request_is_not_kept() -> None:
    requests: GrowingRequests[int] = GrowingRequests(max_bytes=100 * MAX_ENTRY_BYTES)
    raw = _body(1, MAX_ENTRY_BYTES)
    requests.put(beginning(raw), raw, 1)

    assert not _is_known(requests, raw)
