"""Every page that another page leads to."""

from __future__ import annotations

import html
import re

from aiohttp.test_utils import TestClient


async def crawl(client: TestClient) -> set[str]:
    """Each of them answers, and every fragment is a step of the run. Returns their addresses."""
    seen: set[str] = set()
    waiting = ["/welcome", "/runs"]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        answer = await client.get(path, headers={"Accept": "text/html,*/*"})
        assert answer.status == 200, path
        if answer.content_type != "text/html":
            continue
        text = html.unescape(await answer.text())
        links = set(re.findall(r'(?:href|src|(?<!method="post" )action)="([^"]+)"', text))
        waiting += [link for link in links if link.startswith("/") and not link.startswith("//")]
        fragments = {link for link in links if not link.startswith("/")}
        assert all(link.startswith("#step-") or f'id="{link[1:]}"' in text for link in fragments), fragments
    return seen
