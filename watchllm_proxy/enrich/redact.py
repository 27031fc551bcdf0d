"""A call as it may be stored: credentials and personal data behind typed tags, wherever in it they stood.

It is redacted before the sessionizer sees it, so nothing that is made of a call can hold what was taken out of it:
no step, no link, no anchor, no title. Equal values have equal tags, so histories are told apart and joined as
before (decision 0160).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from watchllm_proxy.enrich.redaction.fields import Counts, ProjectRules, Reading, digest
from watchllm_proxy.enrich.redaction.finding import RULES
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.enrich.redaction.own import OwnRule, own_rules
from watchllm_proxy.enrich.redaction.tags import KEY_BYTES, Tags
from watchllm_proxy.records import Body, Call, Exchange, Headers, Message

_ENTRY_BYTES = 512

MAX_PROJECTS = 16
"""Whose texts are at hand, 8 MiB each: of another one they are looked at anew."""


@dataclass(frozen=True, slots=True)
class RedactionPolicy:
    """What each project wants: `modes`, else `default_mode`; and rules that are its own, where not off."""

    default_mode: RedactionMode = RedactionMode.ALL
    modes: Mapping[str, RedactionMode] = field(default_factory=dict)
    own_rules: Mapping[str, tuple[OwnRule, ...]] = field(default_factory=dict)

    def mode(self, project_id: str) -> RedactionMode:
        return self.modes.get(project_id, self.default_mode)

    def named(self, project_id: str) -> str:
        """The mode, with a mark of the project's own rules: what is redacted otherwise is named otherwise."""
        rules = self.own_rules.get(project_id)
        mark = f"+{digest(repr(rules).encode()).hex()[:8]}" if rules else ""
        return f"{self.mode(project_id)}{mark}"


@dataclass(frozen=True, slots=True)
class _Redacted:
    """A message, and how much was taken out of it."""

    message: Message
    counts: Counts
    taken: set[bytes]

    @property
    def size_bytes(self) -> int:
        return _ENTRY_BYTES + len(self.message.content) + 2 * len(self.message.text)


_Place = tuple[str, str, str, bytes, bytes]
"""(project, slot, role, content hash, link hash)"""


class Redactor:
    """Redacts calls. Each message of a project is looked at once, however often it is sent again.

    Deterministic: the same key, policy and call give the same result, whatever was redacted before. For one
    thread.
    """

    def __init__(
        self, key: bytes, policy: RedactionPolicy | None = None, *, max_bytes: int = 64 * 1024 * 1024
    ) -> None:
        """`key`: `KEY_BYTES` that nobody else knows. Raises ValueError for a shorter one or a bad pattern."""
        if len(key) < KEY_BYTES:
            raise ValueError(f"a redaction key has {KEY_BYTES} bytes")
        self._key = key
        self._projects: OrderedDict[str, ProjectRules] = OrderedDict()  # by last use
        self._known: OrderedDict[_Place, _Redacted] = OrderedDict()
        self._known_bytes = 0
        self._max_bytes = max_bytes
        self.policy = policy or RedactionPolicy()
        self._make_projects()

    def follow(self, policy: RedactionPolicy) -> None:
        """From now on redact as this one says. Raises ValueError for a pattern that is none."""
        if policy == self.policy:
            return
        self._known.clear()
        self._known_bytes = 0
        self.policy = policy
        self._make_projects()

    def _make_projects(self) -> None:
        self._projects.clear()
        for rules in self.policy.own_rules.values():
            own_rules(rules)

    def mode(self, project_id: str) -> RedactionMode:
        return self.policy.mode(project_id)

    def text(self, text: str, project_id: str) -> str:
        """As it stands in what is stored: also to look a value up there."""
        return Reading(self._project(project_id)).string(text)

    def document(self, document: bytes, project_id: str) -> tuple[bytes, tuple[tuple[str, int], ...]]:
        """JSON as it may be stored, each value in its place and all else as it was spelt; and how many values were
        taken out of it, by kind."""
        if self.mode(project_id) is RedactionMode.OFF:
            return document, ()
        reading = Reading(self._project(project_id))
        redacted = reading.raw(document) or b"null"
        return redacted, _sorted(reading.counts)

    def shown(self, text: str, project_id: str) -> tuple[str, tuple[tuple[str, int], ...]]:
        """The text as `text` gives it, and how many values were taken out of it, by kind."""
        reading = Reading(self._project(project_id))
        redacted = reading.string(text)
        return redacted, _sorted(reading.counts)

    def redact(self, call: Call) -> Call:
        """The same call where its project wants none."""
        mode = self.mode(call.project_id)
        if mode is RedactionMode.OFF:
            return call
        reading = Reading(self._project(call.project_id))
        messages = tuple([self._message(message, call.project_id, reading) for message in call.messages])
        answer = None if call.answer is None else self._message(call.answer, call.project_id, reading)
        skeleton = reading.skeleton(call.request_skeleton)
        is_opaque = call.opaque_reason is not None
        return replace(
            call,
            target=reading.string(call.target),
            client_address=reading.address(call.client_address),
            request_model=reading.optional(call.request_model),
            response_model=reading.optional(call.response_model),
            provider_name=reading.optional(call.provider_name),
            request_skeleton=skeleton,
            messages=messages,
            request_hash=_request_hash(call, skeleton, messages, reading),
            tool_names=reading.strings(call.tool_names),
            mentioned_ids=reading.again(call.mentioned_ids),
            answer=answer,
            response_id=reading.optional(call.response_id),
            issued_ids=reading.again(call.issued_ids),
            finish_reasons=reading.strings(call.finish_reasons),
            error=reading.error(call.error),
            response_metadata=reading.document(call.response_metadata),
            client_ids=tuple([replace(known, value=reading.string(known.value)) for known in call.client_ids]),
            agent_name=reading.optional(call.agent_name),
            agent_version=reading.optional(call.agent_version),
            user_id=reading.optional(call.user_id),
            user_agent=reading.program(call.user_agent),
            tags=tuple([(reading.string(name), reading.string(value)) for name, value in call.tags]),
            raw_request=reading.raw(call.raw_request) if is_opaque else None,
            raw_response=reading.raw(call.raw_response) if is_opaque and not call.is_stream else None,
            redaction_mode=self.policy.named(call.project_id),
            redacted=_sorted(reading.counts),
        )

    def redact_exchange(self, exchange: Exchange) -> Exchange:
        """One that could not be stored and is set aside, with what can be redacted of its bytes as they are.

        A body in a content encoding, and a stream, whose pieces may split a value, are left out.
        """
        if self.mode(exchange.project_id) is RedactionMode.OFF:
            return exchange
        reading = Reading(self._project(exchange.project_id))
        return replace(
            exchange,
            target=reading.string(exchange.target),
            request_headers=_headers(exchange.request_headers, reading),
            response_headers=_headers(exchange.response_headers, reading),
            request_body=_body(exchange.request_body, exchange.request_headers, reading),
            response_body=_body(exchange.response_body, exchange.response_headers, reading),
            client_address=reading.address(exchange.client_address),
            error_detail=reading.optional(exchange.error_detail),
        )

    def _project(self, project_id: str) -> ProjectRules:
        known = self._projects.get(project_id)
        if known is None:
            mode = self.mode(project_id)
            own = () if mode is RedactionMode.OFF else own_rules(self.policy.own_rules.get(project_id, ()))
            known = ProjectRules(mode, RULES[mode].with_own(own), Tags(self._key, project_id))
            self._projects[project_id] = known
            if len(self._projects) > MAX_PROJECTS:
                self._projects.popitem(last=False)
        self._projects.move_to_end(project_id)
        return known

    def _message(self, message: Message, project_id: str, reading: Reading) -> Message:
        place = (project_id, message.slot, message.role, message.content_hash, message.link_hash)
        known = self._known.get(place)
        if known is None:
            own = Reading(self._project(project_id))
            known = _Redacted(own.message(message), own.counts, own.taken)
            self._remember(place, known)
        else:
            self._known.move_to_end(place)
        if known.counts:
            reading.counts.update(known.counts)
            reading.taken.update(known.taken)
        return known.message

    def _remember(self, place: _Place, redacted: _Redacted) -> None:
        self._known[place] = redacted
        self._known_bytes += redacted.size_bytes
        while self._known_bytes > self._max_bytes:
            self._known_bytes -= self._known.popitem(last=False)[1].size_bytes


def _sorted(counts: Counts) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((str(kind), count) for kind, count in counts.items()))


def _request_hash(call: Call, skeleton: bytes, messages: tuple[Message, ...], reading: Reading) -> bytes:
    """As decode makes it, of the skeleton and the addresses; of a body that was not understood, keyed."""
    if not skeleton:
        return reading.hash(call.request_hash)
    if skeleton == call.request_skeleton and messages == call.messages:
        return call.request_hash
    return digest(skeleton + b"".join([message.content_hash for message in messages]))


def _headers(headers: Headers, reading: Reading) -> Headers:
    return tuple([(name, reading.string(value, name)) for name, value in headers])


def _body(body: Body, headers: Headers, reading: Reading) -> Body:
    """A body that is left out counts as one that was cut before its beginning."""
    names = {name.lower(): value.lower() for name, value in headers}
    is_readable = not names.get("content-encoding") and "event-stream" not in names.get("content-type", "")
    content = reading.raw(body.content) if is_readable else None
    if content is None:
        return replace(body, content=b"", sha256=body.sha256 or "")
    return replace(body, content=content, size_bytes=body.size_bytes + len(content) - len(body.content))
