"""Messages that were read before, and requests. An agent sends its whole conversation again with every request:
reading each message once, and not once a request, is most of what decoding costs."""

from __future__ import annotations

from collections import OrderedDict

from watchllm_proxy.decode.growing import GrowingRequests
from watchllm_proxy.decode.reading import Reading, Request
from watchllm_proxy.records import Api, Message

Place = tuple[Api, str, bytes]
"""(api, slot, canonical content): all that a reading depends on."""

_ANSWER = "answer"
_SENT_BACK_AS_SAID = frozenset({Api.CHAT_COMPLETIONS, Api.MESSAGES})
"""Dialects in which one reader reads the answer and the message that it becomes."""

MAX_ENTRY_BYTES = 1024 * 1024
_ENTRY_OVERHEAD_BYTES = 1024
_ID_OVERHEAD_BYTES = 64


class KnownMessages:
    """Readings by what they are of. Only saves work: decode gives the same without it.

    Takes some `max_bytes` of memory, and as much again for the latest requests; what was not asked for longest is
    forgotten first. For one thread.
    """

    def __init__(self, max_bytes: int = 64 * 1024 * 1024) -> None:
        self.requests: GrowingRequests[Request] = GrowingRequests(max_bytes)
        self._max_bytes = max_bytes
        self._readings: OrderedDict[Place, Reading] = OrderedDict()
        self._bytes = 0

    @property
    def counted_bytes(self) -> int:
        """About what it takes now: not less."""
        return self._bytes + self.requests.counted_bytes

    def get(self, place: Place) -> Reading | None:
        known = self._readings.get(place)
        if known is not None:
            self._readings.move_to_end(place)
        return known

    def get_answer(self, place: Place) -> Message | None:
        """An answer that says just this, as the message that it is when it is sent back."""
        api, slot, content = place
        if slot != "messages" or api not in _SENT_BACK_AS_SAID:
            return None
        known = self._readings.get((api, _ANSWER, content))
        if known is None:
            return None
        said = known.message
        return Message(
            slot=slot,
            role=said.role,
            content=content,
            content_hash=said.content_hash,
            link_hash=said.link_hash,
            text=said.text,
            tool_calls=said.tool_calls,
            tool_results=said.tool_results,
        )

    def put_answer(self, api: Api, message: Message) -> None:
        """An agent's next request holds it, mostly as it was said."""
        if api in _SENT_BACK_AS_SAID:
            self.put((api, _ANSWER, message.content), Reading(message))

    def put(self, place: Place, reading: Reading) -> None:
        """What was not known. The longest are not kept."""
        size_bytes = _size_bytes(place, reading)
        if size_bytes <= MAX_ENTRY_BYTES:
            self._readings[place] = reading
            self._bytes += size_bytes
            while self._bytes > self._max_bytes:
                self._bytes -= _size_bytes(*self._readings.popitem(last=False))


def _size_bytes(place: Place, reading: Reading) -> int:
    """About what an entry takes: content twice (the key, the message), text as wide characters at worst."""
    size_bytes = _ENTRY_OVERHEAD_BYTES + 2 * len(place[2]) + 2 * len(reading.message.text)
    for found in (reading.field_ids, reading.words, reading.tool_names):
        if found:
            size_bytes += sum(map(len, found)) + _ID_OVERHEAD_BYTES * len(found)
    return size_bytes
