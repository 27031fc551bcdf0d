"""From the capture log to a corpus: what a line holds, and what it must not hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from tests.traffic.corpus import corpus_lines, read_log, write_corpus
from tests.traffic.truth import Unlabelled
from watchllm_proxy.capture.writer import LogWriter
from watchllm_proxy.records import Body, Exchange, ExchangeEnd
from watchllm_proxy.replay import read_corpus

REQUEST, ANSWER = b'{"model":"m","messages":[]}', b'{"choices":[]}'
EXCHANGE = Exchange(
    exchange_id=UUID(int=1),
    project_id="default",
    method="POST",
    target="/v1/chat/completions",
    request_headers=(
        ("Host", "127.0.0.1:8787"),
        ("User-Agent", "OpenAI/Python"),
        ("Authorization", "[stripped]"),
        ("X-Truth", json.dumps({"setup": "s", "scenario": "team", "run": "r0", "turn": 1})),
    ),
    request_body=Body(REQUEST, len(REQUEST)),
    status=200,
    response_headers=(("Content-Type", "application/json"), ("Date", "Sun, 22 Nov 2026 11:00:00 GMT")),
    response_body=Body(ANSWER, len(ANSWER)),
    end=ExchangeEnd.COMPLETE,
    started_at_us=1_000_000,
    first_byte_us=None,
    duration_us=250_000,
    client_address="127.0.0.1:40000",
)


def labelled(started_at_us: int, **label: object) -> Exchange:
    header = ("X-Truth", json.dumps({"setup": "s", "scenario": "team", **label}))
    return replace(
        EXCHANGE,
        exchange_id=UUID(int=started_at_us),
        started_at_us=started_at_us,
        request_headers=(*EXCHANGE.request_headers[:-1], header),
    )


def test_the_label_becomes_fields_and_leaves_the_headers() -> None:
    (line,) = corpus_lines([EXCHANGE])

    assert line["request_headers"] == {"user-agent": "OpenAI/Python"}
    assert line["response_headers"] == {"content-type": "application/json"}
    assert (line["true_run"], line["true_turn"], line["true_root_run"]) == ("s/team/r0", 1, "s/team/r0")
    assert (line["t_request"], line["t_response"], line["client_port"]) == (0.0, 0.25, 40000)
    assert "true_parent_run" not in line
    assert "end" not in line


def test_the_root_of_a_sub_agent_is_that_of_its_parents() -> None:
    exchanges = [
        labelled(1, run="lead"),
        labelled(2, run="surveyor", parent="lead"),
        labelled(3, run="archivist", parent="surveyor", agent="archivist"),
    ]
    last = list(corpus_lines(exchanges))[-1]

    assert (last["true_parent_run"], last["true_root_run"]) == ("s/team/surveyor", "s/team/lead")
    assert last["true_agent"] == "archivist"


def test_a_branch_shares_the_session_and_is_nobodys_child() -> None:
    branch = list(corpus_lines([labelled(1, run="r0"), labelled(2, run="r0.b1", branch_of="r0")]))[-1]

    assert branch["true_root_run"] == "s/team/r0"
    assert "true_parent_run" not in branch


@pytest.mark.parametrize("headers", [(), (("X-Truth", "{}"),), (("X-Truth", "no JSON"),)])
def test_an_exchange_without_its_label_is_refused(headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(Unlabelled):
        list(corpus_lines([replace(EXCHANGE, request_headers=headers)]))


async def test_what_was_captured_is_what_a_replay_reads(tmp_path: Path) -> None:
    cut = replace(labelled(3_000_000, run="r1"), end=ExchangeEnd.CLIENT_ABORTED)
    log = LogWriter(tmp_path / "w0", max_bytes=1 << 20)
    log.open()
    for exchange in (cut, EXCHANGE):
        assert log.append(exchange) is None
    await log.close()

    assert write_corpus(tmp_path / "c.jsonl.gz", read_log(tmp_path / "w0")) == 2
    first, second = read_corpus(tmp_path / "c.jsonl.gz")
    assert json.loads(first.request_body.content) == json.loads(REQUEST)
    assert (first.response_body.content, first.end) == (ANSWER, ExchangeEnd.COMPLETE)
    assert (second.end, second.started_at_us) == (ExchangeEnd.CLIENT_ABORTED, 2_000_000)


def test_the_same_exchanges_make_the_same_bytes(tmp_path: Path) -> None:
    write_corpus(tmp_path / "a.jsonl.gz", [EXCHANGE])
    write_corpus(tmp_path / "b.jsonl.gz", [EXCHANGE])

    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
