"""The one table of what clients say about themselves: ids, users, tags, and "keep no content".

Names change with every release of every tool; they change here and nowhere else.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator
from functools import lru_cache

import orjson

from watchllm_proxy.decode.values import Json, as_dict, as_list, as_str
from watchllm_proxy.records import ClientId, ClientIdKind, Headers, record

MAX_ID_CHARACTERS = 256
MAX_TAGS = 64
MAX_TAG_CHARACTERS = 512

Tags = tuple[tuple[str, str], ...]

_K = ClientIdKind

# header (lower case) -> kind, strength. 1 ours, 2 coding harnesses, 3 other tools, 5 traceparent.
_HEADERS: dict[str, tuple[ClientIdKind, int]] = {
    "x-run-id": (_K.RUN, 1),
    "x-session-id": (_K.SESSION, 1),  # also OpenCode's and OpenRouter's name
    "x-parent-run-id": (_K.PARENT_RUN, 1),
    "x-claude-code-session-id": (_K.SESSION, 2),
    "x-claude-code-agent-id": (_K.AGENT, 2),
    "x-claude-code-parent-agent-id": (_K.PARENT_AGENT, 2),
    "session-id": (_K.SESSION, 2),  # Codex; its sub-agents share it
    "session_id": (_K.SESSION, 2),  # Codex, older
    "thread-id": (_K.AGENT, 2),  # Codex: tells sub-agents of one session apart
    "x-parent-session-id": (_K.PARENT_RUN, 2),  # OpenCode: its value is the parent's x-session-id
    "x-interaction-id": (_K.TRACE, 2),  # Copilot: one user turn
    "x-client-session-id": (_K.SESSION, 2),  # Copilot
    "x-kilocode-taskid": (_K.SESSION, 2),
    "goose-session-id": (_K.SESSION, 2),
    "helicone-session-id": (_K.SESSION, 3),
    "x-session-affinity": (_K.SESSION, 3),
    "x-litellm-session-id": (_K.SESSION, 3),
    "x-litellm-trace-id": (_K.TRACE, 3),
    "x-portkey-trace-id": (_K.TRACE, 3),
    "x-bf-session-id": (_K.SESSION, 3),
    "langfuse_session_id": (_K.SESSION, 3),
    "langfuse-session-id": (_K.SESSION, 3),
}
_VENDOR_SESSION = re.compile(r"x-[a-z0-9-]{1,40}-session-id")

# path in the body -> kind, strength
_BODY: tuple[tuple[tuple[str, ...], ClientIdKind, int], ...] = (
    (("session_id",), _K.SESSION, 4),
    (("litellm_session_id",), _K.SESSION, 4),
    (("tensorzero::episode_id",), _K.SESSION, 4),
    (("metadata", "session_id"), _K.SESSION, 4),
    (("trace", "trace_id"), _K.TRACE, 4),
    (("previous_response_id",), _K.PREVIOUS_RESPONSE, 4),
    (("conversation",), _K.CONVERSATION, 4),
    (("conversation", "id"), _K.CONVERSATION, 4),
)

_TELLING_FIELDS = frozenset({*(path[0] for path, _, _ in _BODY), "prompt_cache_key", "metadata", "user"})
"""Of the body: without one of these it says nothing of who sends it."""

_SOURCES: dict[str, tuple[ClientIdKind, int]] = {
    **_HEADERS,
    **{".".join(path): (kind, strength) for path, kind, strength in _BODY},
    "traceparent": (_K.TRACE, 5),
    "x-codex-turn-metadata.session_id": (_K.SESSION, 2),
    "x-codex-turn-metadata.thread_id": (_K.AGENT, 2),
    "prompt_cache_key": (_K.SESSION, 4),
    "metadata.user_id": (_K.SESSION, 2),
}
"""Every `ClientId.source`, for ids that are stored."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_CLAUDE_CODE_USER = re.compile(r"user_[0-9a-f]+_account_.*_session_([0-9a-f-]{36})")
_UNIQUE = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")

_USER_HEADERS = ("x-user-id", "helicone-user-id", "x-litellm-end-user-id")
_AGENT_NAME_HEADERS = ("x-agent-name", "helicone-session-name")
_TAG_LIST_HEADERS = ("x-watchllm-tags", "x-litellm-tags")
_TAG_JSON_HEADERS = ("x-portkey-metadata", "cf-aig-metadata")
_HELICONE_PROPERTY = "helicone-property-"

_OTHER_HEADERS = ("traceparent", "x-codex-turn-metadata", "x-agent-version", "user-agent", "baggage")
_RETRY_COUNT_HEADER = "x-stainless-retry-count"

# "Store no content": header -> the values that mean it.
_NO_CONTENT = {
    "x-watchllm-no-content": frozenset({"true", "1", "yes", "on"}),
    "cf-aig-collect-log-payload": frozenset({"false", "0"}),
    "x-litellm-enable-message-redaction": frozenset({"true", "1"}),
}


def refuses_content(headers: Headers) -> bool:
    """Whether the client asked that figures are kept and no text."""
    return any(value.lower() in _NO_CONTENT.get(name.lower(), ()) for name, value in headers)


_TELLING = frozenset(
    {
        *_HEADERS,
        *_USER_HEADERS,
        *_AGENT_NAME_HEADERS,
        *_TAG_LIST_HEADERS,
        *_TAG_JSON_HEADERS,
        *_OTHER_HEADERS,
        _RETRY_COUNT_HEADER,
        *_NO_CONTENT,
    }
)
"""All headers that are read, beside those that `_tells` knows by how they begin or end."""


@record
class Client:
    """All that a request says about who sends it."""

    ids: tuple[ClientId, ...]  # strongest first
    agent_name: str | None
    agent_version: str | None
    user_id: str | None
    user_agent: str | None
    tags: Tags
    retry_count_hint: int | None
    is_content_refused: bool


def read_client(headers: Headers, body: dict[str, Json]) -> Client:
    """`body` is the parsed request, or {} where it could not be parsed: then the headers still count."""
    telling = tuple([header for header in headers if _tells(header[0])])
    if _TELLING_FIELDS.isdisjoint(body):
        return _told_alone_by(telling)
    return _with_fields(_told_by(telling), body)


@lru_cache(maxsize=64)
def _told_alone_by(headers: Headers) -> Client:
    return _with_fields(_told_by(headers), {})


def _with_fields(told: Client, body: dict[str, Json]) -> Client:
    return Client(
        ids=_strongest([*told.ids, *_body_ids(body)]),
        agent_name=told.agent_name,
        agent_version=told.agent_version,
        user_id=_printable(told.user_id or as_str(body.get("user"))),
        user_agent=told.user_agent,
        tags=_tags(told.tags, as_dict(body.get("metadata"))),
        retry_count_hint=told.retry_count_hint,
        is_content_refused=told.is_content_refused,
    )


@lru_cache(maxsize=1024)
def _tells(name: str) -> bool:
    lower = name.lower()
    return lower in _TELLING or lower.startswith(_HELICONE_PROPERTY) or lower.endswith("-session-id")


@lru_cache(maxsize=64)
def _told_by(headers: Headers) -> Client:
    """By those headers that tell something: mostly the same from call to call. Ids, tags and the user are as they
    stand there."""
    by_name = {name.lower(): value.strip() for name, value in reversed(headers)}  # of repeats, the first
    return Client(
        ids=tuple(_header_ids(by_name)),
        agent_name=_printable(_first(by_name, _AGENT_NAME_HEADERS)),
        agent_version=_printable(by_name.get("x-agent-version")),
        user_id=_first(by_name, _USER_HEADERS),
        user_agent=(by_name.get("user-agent") or "")[:MAX_TAG_CHARACTERS] or None,
        tags=tuple(_header_tags(headers, by_name).items()),
        retry_count_hint=_count(by_name.get(_RETRY_COUNT_HEADER)),
        is_content_refused=any(by_name[key].lower() in _NO_CONTENT[key] for key in by_name.keys() & _NO_CONTENT),
    )


def _strongest(found: list[ClientId]) -> tuple[ClientId, ...]:
    """Each kind and value once; the strongest first."""
    if len(found) < 2:
        return tuple(found)
    distinct = {(one.kind, one.value): one for one in sorted(found, key=lambda one: -one.strength)}
    return tuple(sorted(distinct.values(), key=lambda one: one.strength))


def client_id(source: str, value: str) -> ClientId | None:
    """An id that was found there before; None where no id is looked for any more."""
    kind, strength = _SOURCES.get(source) or ((_K.SESSION, 3) if _VENDOR_SESSION.fullmatch(source) else (None, 0))
    return None if kind is None else ClientId(kind, value, source, strength)


def _header_ids(by_name: dict[str, str]) -> Iterator[ClientId]:
    for name, value in by_name.items():
        entry = _HEADERS.get(name)
        if entry is None and name.endswith("-session-id") and _VENDOR_SESSION.fullmatch(name):
            entry = (_K.SESSION, 3)
        if entry and (clean := _printable(value)):
            yield ClientId(entry[0], clean, name, entry[1])
    if match := _TRACEPARENT.fullmatch(by_name.get("traceparent", "").lower()):
        yield ClientId(_K.TRACE, match.group(1), "traceparent", 5)
    if turn := _json_object(by_name.get("x-codex-turn-metadata", "")):
        for key, kind in (("session_id", _K.SESSION), ("thread_id", _K.AGENT)):
            if value_of_key := _printable(as_str(turn.get(key))):
                yield ClientId(kind, value_of_key, f"x-codex-turn-metadata.{key}", 2)


def _body_ids(body: dict[str, Json]) -> Iterator[ClientId]:
    for path, kind, strength in _BODY:
        if path[0] not in body:
            continue
        value: Json = body
        for key in path:
            value = as_dict(value).get(key)
        if clean := _printable(as_str(value)):
            yield ClientId(kind, clean, ".".join(path), strength)
    # Often a constant of the application; it names a session only where it is a unique id (Codex does that).
    cache_key = _printable(as_str(body.get("prompt_cache_key")))
    if cache_key and _UNIQUE.search(cache_key):
        yield ClientId(_K.SESSION, cache_key, "prompt_cache_key", 4)
    if session := _claude_code_session(as_str(as_dict(body.get("metadata")).get("user_id"))):
        yield ClientId(_K.SESSION, session, "metadata.user_id", 2)


def _claude_code_session(user_id: str | None) -> str | None:
    """Claude Code writes its session into `metadata.user_id`: in a fixed pattern, later as JSON."""
    if user_id is None:
        return None
    if match := _CLAUDE_CODE_USER.fullmatch(user_id):
        return match.group(1)
    return _printable(as_str(_json_object(user_id).get("session_id")))


# --- tags -------------------------------------------------------------------------------------------


def _tags(of_headers: Tags, metadata: dict[str, Json]) -> Tags:
    """Name and value; a bare tag has the value "". Bounded in number and length, in order of appearance."""
    if not of_headers and not metadata:
        return ()
    tags = dict(of_headers)
    tags.update(_texts({key: value for key, value in metadata.items() if key not in ("user_id", "session_id")}))
    tags.update({str(tag): "" for tag in as_list(metadata.get("tags")) if isinstance(tag, str)})
    kept = [(_clean(key), _clean(value)) for key, value in tags.items() if key]
    return tuple(kept[:MAX_TAGS])


def _header_tags(headers: Headers, by_name: dict[str, str]) -> dict[str, str]:
    """As they stand there."""
    tags: dict[str, str] = {}
    if any(name.startswith(_HELICONE_PROPERTY) for name in by_name):
        for name, value in headers:
            if name.lower().startswith(_HELICONE_PROPERTY):
                tags[name[len(_HELICONE_PROPERTY) :]] = value
    for name in _TAG_LIST_HEADERS:
        for item in _items(by_name, name):
            key, _, value = item.partition("=")
            tags[key.strip()] = value.strip()
    for name in _TAG_JSON_HEADERS:
        tags.update(_texts(_json_object(by_name.get(name, ""))))
    for item in _items(by_name, "baggage"):
        key, _, value = item.partition(";")[0].partition("=")
        tags[key.strip()] = urllib.parse.unquote(value.strip())
    return tags


def _items(by_name: dict[str, str], name: str) -> list[str]:
    """What a header lists, separated by commas."""
    listed = by_name.get(name)
    return listed.split(",") if listed else []


def _texts(found: dict[str, Json]) -> dict[str, str]:
    """The scalar values, as text."""
    return {
        key: value if isinstance(value, str) else orjson.dumps(value).decode()
        for key, value in found.items()
        if isinstance(value, (str, int, float, bool))
    }


def _clean(text: str) -> str:
    return "".join(char for char in text[:MAX_TAG_CHARACTERS] if char.isprintable())


# --- readers ----------------------------------------------------------------------------------------


def _printable(value: str | None) -> str | None:
    """An id as sent, or None for one that is empty, too long or not printable."""
    if value and len(value) <= MAX_ID_CHARACTERS and value.isprintable() and value != "[stripped]":
        return value
    return None


def _first(by_name: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((by_name[name] for name in names if by_name.get(name)), None)


def _count(value: str | None) -> int | None:
    return int(value) if value and len(value) <= 6 and value.isascii() and value.isdigit() else None


def _json_object(text: str) -> dict[str, Json]:
    if not text.startswith("{"):
        return {}
    try:
        return as_dict(orjson.loads(text))
    except orjson.JSONDecodeError:
        return {}
