"""Request targets: what a client may ask for, and what the upstream is asked for.

The host never comes from here. The upstream's target is the configured prefix with the raw rest of the path
behind it, and only paths that cannot mean anything else to any parser get that far.
"""

from __future__ import annotations

import re
import urllib.parse
from enum import Enum, auto

from watchllm_proxy.proxy.answers import Refusal, bad_request

API_PREFIX = "/v1/"
MAX_DECODINGS = 3

# Segments that begin with a letter, digit, "_", "-" or "~" and hold nothing that any parser reads twice.
_PLAIN = re.compile(r"(?:/[A-Za-z0-9_~\-][A-Za-z0-9_.~:,;=+!$&'()*\-]*)+/?")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_INGESTION = re.compile(r"/v1/(?:agent-runs|events)(?:/.*)?|/v1/projects/[^/]+/events(?:/.*)?")
_LATER = re.compile(r"/v1/traces(?:/.*)?")
_QUERY = "/v1/events/query"


class Route(Enum):
    FORWARD = auto()  # to the upstream, captured
    INGESTION = auto()  # reports, for us
    LATER = auto()  # ours, and not there yet
    HEALTH = auto()
    READY = auto()
    METRICS = auto()
    CONSOLE = auto()


_OPERATIONS = {"/healthz": Route.HEALTH, "/readyz": Route.READY, "/metrics": Route.METRICS}


def route(target: str) -> Route:
    """Where a request goes. Raises `Refusal` (400) for a target that is not a plain origin-form one."""
    path = target.partition("?")[0]
    if not _PLAIN.fullmatch(path) or not _VISIBLE.fullmatch(target) or "#" in target:
        _refuse_unsafe(path, target)
    if path.startswith(API_PREFIX):
        return _under_v1(path)
    return _OPERATIONS.get(path, Route.CONSOLE)


def _under_v1(path: str) -> Route:
    """What is reported is taken here; what is asked about it is answered by the console, which has the stores."""
    if path == _QUERY:
        return Route.CONSOLE
    if _LATER.fullmatch(path):
        return Route.LATER
    return Route.INGESTION if _INGESTION.fullmatch(path) else Route.FORWARD


def upstream_target(prefix: str, target: str) -> bytes:
    """The target to ask the upstream for: /v1/x becomes `prefix`/x. `target` has passed `route`."""
    return (prefix + target[len(API_PREFIX) - 1 :]).encode("ascii")


def _refuse_unsafe(path: str, target: str) -> None:
    """The slow, exact look at a target that is out of the ordinary; returns if it is harmless."""
    if not _VISIBLE.fullmatch(target) or "#" in target:
        raise Refusal(bad_request("The request target holds characters that must be percent-encoded."))
    if not path.startswith("/"):
        raise Refusal(bad_request("The request target must be a path that begins with “/”."))
    if "//" in path:
        raise Refusal(bad_request("The path holds “//”. Check the base URL for a slash too many."))
    if "@" in path or "\\" in path:
        raise Refusal(bad_request("The path holds “@” or a backslash. Percent-encode “@” as %40."))
    # What we answer ourselves may name a run `C:\x` or `..`: names are looked up there, and no tree is walked.
    if path.startswith(API_PREFIX) and _under_v1(path) is Route.FORWARD:
        _refuse_steps(path)


def _refuse_steps(path: str) -> None:
    """Returns if no server behind us can read `path` as leading upwards."""
    if "%5c" in path.lower():
        raise Refusal(bad_request("The path holds an encoded backslash. Leave it out."))
    segments = re.split(r"[/\\]", _decoded(path))
    if any(segment.partition(";")[0] in {".", ".."} for segment in segments):
        raise Refusal(bad_request("The path holds “.” or “..” segments. Send the path they lead to."))


def _decoded(path: str) -> str:
    """`path` as the most eager chain of servers would read it: some decode once more than others."""
    for _ in range(MAX_DECODINGS):
        path = urllib.parse.unquote(path)
    return path
