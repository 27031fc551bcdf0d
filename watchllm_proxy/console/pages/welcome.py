"""The first page: the one line to copy, and a watch for the first request."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from watchllm_proxy.console.answers import json_answer
from watchllm_proxy.console.context import HEALTH, SETTINGS, now_us, project_of, reading_of
from watchllm_proxy.console.html import render
from watchllm_proxy.store.shapes import RunQuery


@dataclass(frozen=True, slots=True)
class Snippet:
    """How to point one kind of client here. `lines` are cut at the address: before, after."""

    key: str
    label: str
    text: str


async def home(request: web.Request) -> web.Response:
    """To the runs, or, while there is none, to the page that waits for the first."""
    newest = await reading_of(request).list_runs(project_of(request), RunQuery(limit=1, with_chats=True))
    raise web.HTTPFound("/runs" if newest.total else "/welcome")


async def welcome_page(request: web.Request) -> web.Response:
    newest = await reading_of(request).list_runs(project_of(request), RunQuery(limit=1, with_chats=True))
    host = request.host
    return render(
        request,
        "welcome.html",
        nav="welcome",
        host=host,
        upstream=urlsplit(request.app[SETTINGS].upstream_url).netloc,
        snippets=snippets(base_url(request)),
        health=await request.app[HEALTH](),
        now=now_us(),
        newest_run_id=newest.rows[0].run.run_id if newest.rows else "",
        total=newest.total,
    )


async def welcome_json(request: web.Request) -> web.Response:
    newest = await reading_of(request).list_runs(project_of(request), RunQuery(limit=1, with_chats=True))
    health = await request.app[HEALTH]()
    return json_answer(
        {
            "base_url": base_url(request),
            "upstream": urlsplit(request.app[SETTINGS].upstream_url).netloc,
            "is_upstream_reachable": health.is_upstream_reachable,
            "problems": health.problems,
            "newest_run_id": newest.rows[0].run.run_id if newest.rows else None,
        }
    )


def base_url(request: web.Request) -> str:
    """Where clients reach the proxy: as the settings say, else the address this very page was asked at."""
    public_url = request.app[SETTINGS].public_url
    return f"{public_url or f'http://{request.host}'}/v1"


def snippets(url: str) -> list[Snippet]:
    return [
        Snippet("shell", "Shell", f"export OPENAI_BASE_URL={url}"),
        Snippet("python", "Python", f'client = OpenAI(base_url="{url}")'),
        Snippet("node", "Node", f"const client = new OpenAI({{ baseURL: '{url}' }});"),
        Snippet(
            "curl",
            "curl",
            f'curl {url}/chat/completions -H "Authorization: Bearer $OPENAI_API_KEY" \\\n'
            '  -H "Content-Type: application/json" \\\n'
            """  -d '{"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "hello"}]}'""",
        ),
    ]
