"""A client of the running server's JSON API: what it cannot do becomes a sentence and an exit status."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import IntEnum
from typing import BinaryIO

from watchllm_proxy.errors import WatchLLMError

TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 16

Query = Mapping[str, str | int | None]


class ExitStatus(IntEnum):
    DONE = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3


class CommandFailed(WatchLLMError):
    """A command cannot go on: `str()` says what happened and what to do next."""

    def __init__(self, message: str, status: ExitStatus = ExitStatus.ERROR) -> None:
        self.status = status
        super().__init__(message)


class ServerUnreachable(CommandFailed):
    """Nothing answers there: not started, another port, or just restarting."""


class NotFound(CommandFailed):
    """The server answers, and does not know the thing."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitStatus.NOT_FOUND)


class ApiClient:
    """Reads JSON from the server at `url`, one connection a request; never follows a redirect.

    `key`: a project key to be shown there.
    """

    def __init__(self, url: str, *, key: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise CommandFailed(f"{url!r} is no address: give one like http://127.0.0.1:8787", ExitStatus.USAGE)
        self.url = url.rstrip("/").removesuffix("/v1")
        self._parts = urllib.parse.urlsplit(self.url)
        self._timeout_s = timeout_s
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def get(self, path: str, query: Query | None = None) -> object:
        """The JSON at `path`, numbers exact (`Decimal`). Raises CommandFailed or a child of it."""
        try:
            value: object = json.loads(self.get_bytes(path, query), parse_float=Decimal)
        except ValueError as exc:
            raise CommandFailed(f"{self.url} is no WatchLLM server: its answer is not JSON") from exc
        return value

    def get_bytes(self, path: str, query: Query | None = None) -> bytes:
        """The body of a 200. Any other status raises NotFound or CommandFailed with the server's message."""
        status, body = self.get_any(path, query)
        if status != http.client.OK:
            raise _refused(status, f"{self.url}{path}", body)
        return body

    def get_any(self, path: str, query: Query | None = None) -> tuple[int, bytes]:
        """Status and body, whatever they are; parameters that are None are left out.

        Raises ServerUnreachable when no HTTP answer comes.
        """
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{self._parts.path}{path}" + (f"?{urllib.parse.urlencode(given)}" if given else "")
        connection = self._connect()
        try:
            answer = self._answer(connection, target)
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as exc:
            raise self._unreachable(exc) from exc
        finally:
            connection.close()

    def copy(self, path: str, out: BinaryIO, told: Callable[[int], None]) -> None:
        """The body of a 200 into `out` as it comes, whatever its size; `told` hears the length of each piece.

        Raises as `get_bytes` does, and CommandFailed when the answer breaks off.
        """
        connection = self._connect()
        try:
            answer = self._answer(connection, f"{self._parts.path}{path}")
            if answer.status != http.client.OK:
                raise _refused(answer.status, f"{self.url}{path}", answer.read())
            while chunk := _chunk(answer):
                out.write(chunk)
                told(len(chunk))
        finally:
            connection.close()

    def _answer(self, connection: http.client.HTTPConnection, target: str) -> http.client.HTTPResponse:
        try:
            connection.request("GET", target, headers=self._headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as exc:
            raise self._unreachable(exc) from exc

    def _unreachable(self, exc: Exception) -> ServerUnreachable:
        return ServerUnreachable(
            f"no WatchLLM answers at {self.url} ({_reason(exc)}).\n"
            "Start it with `watchllm up`, or say where it is with --url."
        )

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        return kind(self._parts.hostname or "", self._parts.port, timeout=self._timeout_s)


def _chunk(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as exc:
        raise CommandFailed("The answer broke off: what was written is not whole. Try again.") from exc


def _refused(status: int, address: str, body: bytes) -> CommandFailed:
    said = _error_message(body)
    if status == http.client.NOT_FOUND:
        return NotFound(said or f"{address}: not found")
    return CommandFailed(f"{address}: {said or f'HTTP {status}'}")


def _reason(exc: Exception) -> str:
    return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__


def _error_message(body: bytes) -> str | None:
    """The message of an OpenAI-shaped error answer."""
    try:
        document = json.loads(body)
    except ValueError:
        return None
    error = document.get("error") if isinstance(document, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else None
