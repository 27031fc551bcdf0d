"""The parts of a call, redacted: texts, documents, hashes, addresses."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TypeAlias

from watchllm_proxy.enrich.redaction.documents import redact_bytes, redact_document, redact_string
from watchllm_proxy.enrich.redaction.finding import RULES, Redaction, telling
from watchllm_proxy.enrich.redaction.kinds import RedactionKind, RedactionMode
from watchllm_proxy.enrich.redaction.known import KnownTexts
from watchllm_proxy.enrich.redaction.rulesets import Ruleset
from watchllm_proxy.enrich.redaction.tags import TAG, Tags
from watchllm_proxy.records import CallError, Message, ToolCall, ToolResult

Counts: TypeAlias = "Counter[str]"
"""By kind."""


@dataclass(frozen=True, slots=True)
class ProjectRules:
    """What a project has redacted, and what is known of its texts."""

    mode: RedactionMode
    rules: Ruleset
    tags: Tags
    known: KnownTexts[str] = field(default_factory=KnownTexts)
    programs: KnownTexts[str] = field(default_factory=lambda: KnownTexts(64 * 1024))
    skeletons: KnownTexts[bytes] = field(default_factory=lambda: KnownTexts(4 * 1024 * 1024))


class Reading:
    """Redacts parts of one call or message; `counts` says what was found, each place once."""

    def __init__(self, project: ProjectRules) -> None:
        self._project = project
        self._tags = project.tags
        self._redaction = Redaction(project.rules, project.tags, known=project.known)
        self._again = self._redaction.alone()  # places that were counted already

    @property
    def counts(self) -> Counts:
        return self._redaction.counts

    @property
    def taken(self) -> set[bytes]:
        return self._redaction.taken

    def string(self, text: str, field_name: str = "") -> str:
        return redact_string(text, self._redaction, telling(field_name))

    def optional(self, text: str | None) -> str | None:
        return None if text is None else self.string(text)

    def strings(self, texts: Sequence[str]) -> tuple[str, ...]:
        return tuple([self.string(text) for text in texts])

    def again(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Words that were read out of other parts: counted there, and gone where a whole value went with them."""
        taken = b"\n".join(self.taken).decode("utf-8", "replace")
        return tuple([redact_string(text, self._again) for text in texts if text not in taken])

    def program(self, user_agent: str | None) -> str | None:
        """A user agent names a program and its version, which may look like an IP address: secrets only."""
        if user_agent is None:
            return None
        secrets = Redaction(RULES[RedactionMode.SECRETS], self._tags, self.counts, known=self._project.programs)
        return redact_string(user_agent, secrets)

    def hash(self, digest: bytes) -> bytes:
        """A keyed hash in place of one of content that is not kept; none stays none."""
        return self._tags.keyed(digest) if digest else digest

    def address(self, address: str) -> str:
        """ "ip:port" of a connection; of one from this machine it says nothing about anybody."""
        host, colon, port = address.rpartition(":")
        if (
            self._project.mode is not RedactionMode.ALL
            or not colon
            or _is_local(host)
            or TAG.fullmatch(host.encode())
        ):
            return address
        return f"{self._tags.tag(RedactionKind.IP_ADDRESS, host.encode()).decode()}:{port}"

    def document(self, raw: bytes) -> bytes:
        """JSON in canonical form; the same where nothing was found."""
        return redact_document(raw, self._redaction)

    def skeleton(self, raw: bytes) -> bytes:
        """As `document`. Calls of a run, and runs of an agent, have the same one."""
        skeletons = self._project.skeletons
        known = skeletons.get(raw)
        if known is None:
            alone = self._redaction.alone()
            redacted = redact_document(raw, alone)
            known = alone.outcome(None if redacted is raw else redacted)
            skeletons.put(known, raw)
        return self._redaction.counted(known) or raw

    def raw(self, content: bytes | None) -> bytes | None:
        """Bytes of a body that was not understood; None where they are no text: nobody can look into them."""
        if content is None:
            return None
        try:
            content.decode()
        except UnicodeDecodeError:
            return None
        return redact_bytes(content, self._redaction)

    def error(self, error: CallError | None) -> CallError | None:
        if error is None:
            return None
        return CallError(self.string(error.type), self.string(error.message), self.optional(error.code))

    def message(self, message: Message) -> Message:
        """Addressed by its content as it is now; recognised as before where nothing that counts was redacted.

        The same object where nothing was found.
        """
        again = self._again
        role = self.string(message.role)
        content = redact_document(message.content, self._redaction)
        text = redact_string(message.text, again)
        tool_calls = tuple([_tool_call(asked, again) for asked in message.tool_calls])
        tool_results = tuple([_tool_result(got, again) for got in message.tool_results])
        is_changed = content is not message.content
        is_said_otherwise = (text, tool_calls, tool_results) != (
            message.text,
            message.tool_calls,
            message.tool_results,
        ) or (is_changed and message.slot == "tools")  # all of a list of tools counts
        if not is_changed and role is message.role and not is_said_otherwise:
            return message
        return replace(
            message,
            role=role,
            content=content,
            content_hash=digest(content) if is_changed else message.content_hash,
            link_hash=self.hash(message.link_hash) if is_said_otherwise else message.link_hash,
            text=text,
            tool_calls=tool_calls,
            tool_results=tool_results,
        )


def digest(content: bytes) -> bytes:
    """blake2b-128, as decode addresses content."""
    return blake2b(content, digest_size=16).digest()


def _tool_call(asked: ToolCall, redaction: Redaction) -> ToolCall:
    return ToolCall(
        _optional(asked.tool_call_id, redaction),
        redact_string(asked.name, redaction),
        redact_string(asked.arguments, redaction),
    )


def _tool_result(got: ToolResult, redaction: Redaction) -> ToolResult:
    return replace(
        got, tool_call_id=_optional(got.tool_call_id, redaction), text=redact_string(got.text, redaction)
    )


def _optional(text: str | None, redaction: Redaction) -> str | None:
    return None if text is None else redact_string(text, redaction)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
