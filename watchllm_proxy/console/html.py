"""Pages from templates: one environment, everything escaped, unknown names are errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import jinja2
from aiohttp import web

from watchllm_proxy.console import addresses, formats
from watchllm_proxy.console.assets import ASSETS
from watchllm_proxy.console.context import POOL, TOP_BAR, VISITOR, may
from watchllm_proxy.console.labels import flag_label, outcome_label, step_references
from watchllm_proxy.grants import Scope

_TEMPLATES = Path(__file__).with_name("templates")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
    )
    environment.filters |= {
        "usd": formats.usd,
        "usd_short": formats.usd_short,
        "duration": formats.duration,
        "size": formats.size,
        "compact": formats.compact,
        "instant": formats.instant,
        "agent_path": addresses.agent_path,
        "run_path": addresses.run_path,
        "run_json_path": addresses.run_json_path,
        "session_path": addresses.session_path,
        "flag_label": flag_label,
        "step_references": step_references,
    }
    environment.globals |= {
        "asset": ASSETS.path_of,
        "count_of": formats.count_of,
        "ago": formats.ago,
        "outcome": outcome_label,
        "lane_path": addresses.lane_path,
    }
    return environment


_ENVIRONMENT: Final = _environment()
THEMES = frozenset({"light", "dark"})


def render(
    request: web.Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> web.Response:
    """A page, in the colours that its address or a cookie names. Text that UTF-8 cannot carry (lone surrogates in
    captured text) is shown as `?`."""
    theme = request.query.get("theme") or request.cookies.get("theme", "auto")
    page = _ENVIRONMENT.get_template(template).render(
        theme=theme if theme in THEMES else "auto",
        visitor=request.get(VISITOR),
        top=request.get(TOP_BAR),
        has_prices=request.app[POOL] is not None,
        may_manage_keys=request.app[POOL] is not None and may(request, Scope.ADMIN),
        **values,
    )
    response = web.Response(
        body=page.encode("utf-8", "replace"),
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers=headers,
    )
    response.enable_compression()
    return response


_TITLES = {
    401: "This key opens nothing here",
    202: "Noted",
    403: "Not from there",
    404: "Not found",
    405: "Not that way",
    409: "Not now",
    422: "That cannot be used",
    500: "That went wrong",
    503: "Not available now",
}


def render_message(
    request: web.Request, status: int, message: str, *, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A page that only says something: an error, in words."""
    title = _TITLES.get(status, "That did not work")
    return render(request, "message.html", status=status, headers=headers, nav="", title=title, message=message)
