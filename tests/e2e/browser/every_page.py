"""Every page that the console has, found among its routes: whoever adds one adds it to the tests of all."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Mapping

from watchllm_proxy.console.app import ROUTES

BESIDE_THE_ROUTES = ("/nowhere", "/runs?q=nothing+is+called+this", "/costs?by=model", "/costs?by=day&since=7d")
"""What a route answers that its bare address does not show: nothing found, another question."""


FORMS = (".json", ".ndjson", ".md")
"""Of pages, for programs: what they say of an error may be a page, what they hold is not."""

_PLACE = re.compile(r"\{(\w+)(?::(?:[^{}]|\{[^{}]*\})*)?\}")


def addresses(places: Mapping[str, str]) -> list[str]:
    """Of all GET routes, their places filled from `places`."""
    templates = {route.path for route in ROUTES if route.method == "GET"}
    missing = {name for each in templates for name in _PLACE.findall(each)} - set(places)
    assert not missing, f"conftest.places does not know what stands for {missing} in an address"
    return [*sorted(_PLACE.sub(lambda found: places[found[1]], each) for each in templates), *BESIDE_THE_ROUTES]


def pages(origin: str, places: Mapping[str, str]) -> list[str]:
    """Those that answer with a page to look at, and do not only lead to another. `/welcome` leads on by itself."""
    return [path for path in addresses(places) if not path.endswith(FORMS) and _is_page(origin + path)]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _is_page(url: str) -> bool:
    """By the answer's head: a stream of events has no end."""
    opener = urllib.request.build_opener(_NoRedirects)
    request = urllib.request.Request(url, headers={"Accept": "text/html"})
    try:
        with opener.open(request, timeout=20) as answer:
            return bool(answer.headers.get_content_type() == "text/html")
    except urllib.error.HTTPError as answer:
        if answer.code >= 500:
            raise
        return answer.code == 404 and answer.headers.get_content_type() == "text/html"
