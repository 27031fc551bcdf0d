"""What a break lost beside what providers said, in recordings of theirs whose requests follow each other."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.integration.sessionize.test_recorded_conversations import PATHS, exchange, recordings
from watchllm_proxy.decode import decode
from watchllm_proxy.insights.caching import MIN_LOST_TOKENS, cache_breaks
from watchllm_proxy.records import SentCall, SentMessage

TOLD = re.compile(r'"(?:cached_tokens|cache_read_input_tokens|prompt_cache_hit_tokens)"\s*:\s*(\d+)')
OTHER_PATHS = {**PATHS, "anthropic.messages": "messages"}


def told_by_upstream(record: dict[str, Any]) -> int | None:
    """Read without our decoder: the largest that stands in the answer, for a stream tells it more than once."""
    return max(map(int, TOLD.findall(record["response_body"] or "")), default=None)


def sent_calls(key: object, records: list[dict[str, Any]]) -> list[SentCall]:
    calls: list[SentCall] = []
    line: list[bytes] = []
    for number, record in enumerate(records):
        path, body = OTHER_PATHS.get(record["api"], record["api"]), record["response_body"] or ""
        headers = tuple(
            (name, str(value))
            for name, value in (record["response_headers"] or {}).items()
            if name.lower() != "content-encoding"  # the recordings hold bodies decoded
        )
        more = {"status": record["status"], "headers": headers, "client": "10.0.0.1:40000"}
        call = decode(exchange(f"{key}{number}", path, record["request_body"], body, 10.0 * number, 1.0, **more))
        hashes = [message.content_hash for message in call.messages]
        same = [now == before for now, before in zip(hashes, line, strict=False)]
        kept = same.index(False) if False in same else len(same)
        new = [SentMessage(m.content_hash.hex(), m.slot, m.role, len(m.content)) for m in call.messages[kept:]]
        calls.append(SentCall(call, kept, tuple(new), None))
        line = hashes
    return calls


@pytest.mark.shared
def test_every_break_of_recorded_pairs_lost_what_the_provider_says_and_none_is_missed(shared: Path) -> None:
    both_told = fell = found = 0
    for key, records in recordings(shared / "data" / "wire").items():
        calls, told = sent_calls(key, records), list(map(told_by_upstream, records))
        breaks = {each.call_id: each.tokens_lost for each in cache_breaks(calls)}
        for (before, was), (after, now) in pairwise(zip(calls, told, strict=True)):
            is_pair = after.kept and before.call.request_model == after.call.request_model
            if not is_pair or was is None or now is None or after.call.usage.cache_read_input_tokens is None:
                continue
            both_told += 1
            fell += was - now >= MIN_LOST_TOKENS
            lost = breaks.pop(after.call.call_id, None)
            found += lost is not None
            assert lost == (was - now if was - now >= MIN_LOST_TOKENS else None), key
        assert breaks == {}, key
    print(f"{both_told} pairs of which both tell, {fell} fell, {found} breaks")
    assert both_told > 500
    assert fell == found == 6
