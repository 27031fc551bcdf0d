"""A step's request as a command to run again: the same body byte for byte, and never a key."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from aiohttp import web

from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.context import project_of, reading_of
from watchllm_proxy.console.loading import LoadedRun
from watchllm_proxy.console.pages.figures import MODEL_TYPES
from watchllm_proxy.console.pages.welcome import base_url
from watchllm_proxy.records import Api

_MESSAGES_VERSION = "2023-06-01"


async def copy_answer(request: web.Request, loaded: LoadedRun, index: int, language: str) -> web.Response:
    """The body as it is stored: what was redacted stays so. Raises HTTPNotFound for a step without such a call."""
    step = next((each for each in loaded.steps if each.step_index == index), None)
    if step is None or step.call_id is None or step.type not in MODEL_TYPES:
        raise web.HTTPNotFound
    call = await reading_of(request).get_call(project_of(request), step.call_id)
    if call is None:
        raise web.HTTPNotFound
    if call.request is None or call.is_truncated:
        why = "its request was not stored whole" if call.is_truncated else call.opaque_reason or "it had no body"
        raise Problem(409, "not_copied", f"This step cannot be sent again: {why}.")
    url = base_url(request).removesuffix("/v1") + call.row.target
    headers = {"Content-Type": "application/json"}
    if call.row.api is Api.MESSAGES:
        headers["anthropic-version"] = _MESSAGES_VERSION
    text = LANGUAGES[language](url, headers, call.request)
    return web.Response(text=text, content_type="text/plain")


def as_curl(url: str, headers: dict[str, str], body: bytes) -> str:
    """By `printf`, which the shell has built in: an argument of a program may have 128 KiB."""
    options = [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items()]
    lines = [
        f"printf '%s' {shlex.quote(body.decode())} | curl -sS {shlex.quote(url)}",
        '-H "Authorization: Bearer $OPENAI_API_KEY"',
        *options,
        "--data-binary @-",
    ]
    return " \\\n  ".join(lines) + "\n"


def as_python(url: str, headers: dict[str, str], body: bytes) -> str:
    """With nothing but the standard library: a client of a provider would write the body anew."""
    return (
        "import os\n"
        "import urllib.request\n\n"
        f"body = {body.decode()!r}.encode()\n"
        f"headers = {headers!r}\n"
        'headers["Authorization"] = f"Bearer {os.environ[\'OPENAI_API_KEY\']}"\n'
        f"request = urllib.request.Request({url!r}, body, headers)\n"
        "with urllib.request.urlopen(request) as answer:\n"
        "    print(answer.read().decode())\n"
    )


LANGUAGES: dict[str, Callable[[str, dict[str, str], bytes], str]] = {"curl": as_curl, "python": as_python}
