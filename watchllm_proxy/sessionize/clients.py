"""Who sent a call, as far as the wire tells."""

from __future__ import annotations

import json
from functools import lru_cache
from hashlib import blake2b

from watchllm_proxy.records import Call, record
from watchllm_proxy.sessionize.recent import once_a_call


@record
class Client:
    """No evidence by itself: it only breaks ties."""

    host: str
    port: str
    agent: str  # a hash of the user agent
    style: str  # a hash of the API and of the names of the fields in the body: each library fills in its own

    @classmethod
    def of(cls, call: Call) -> Client:
        return _client_of(call)

    def is_like(self, other: Client) -> bool:
        """The same program, or one made of the same parts."""
        return (self.host, self.agent, self.style) == (other.host, other.agent, other.style)

    def __str__(self) -> str:
        return f"{self.host}:{self.port} {self.agent}{self.style}"

    @classmethod
    def read(cls, address: str, hashes: str) -> Client:
        host, _, port = address.rpartition(":")
        return cls(host, port, hashes[:_HASH_DIGITS], hashes[_HASH_DIGITS:])


_HASH_DIGITS = 8
_OWN_TO_A_CALL = frozenset(
    {"tools", "tool_choice", "parallel_tool_calls", "functions", "response_format", "text", "stop"}
)
"""Fields that one program sends with some of its calls only."""


@once_a_call
def _client_of(call: Call) -> Client:
    host, _, port = call.client_address.replace(" ", "").rpartition(":")
    path = call.target.partition("?")[0]
    return Client(host, port, _short_hash(call.user_agent or ""), _style(path, call.request_skeleton))


@lru_cache(maxsize=256)
def _style(path: str, skeleton: bytes) -> str:
    """`skeleton` as decode makes it: {"rest": the body without its messages, "slots": where they were}."""
    try:
        fields = json.loads(skeleton).get("rest", {})
    except (ValueError, AttributeError):
        fields = ()
    names = sorted(set(fields) - _OWN_TO_A_CALL) if isinstance(fields, dict) else ()
    return _short_hash(path, *names)


@lru_cache(maxsize=1024)
def _short_hash(*texts: str) -> str:
    return blake2b("\n".join(texts).encode("utf-8", "replace"), digest_size=_HASH_DIGITS // 2).hexdigest()
