"""The console's application: routes, and what every handler shares. Served on a unix socket behind the proxy."""

from __future__ import annotations

from aiohttp import web

from watchllm_proxy.console import context
from watchllm_proxy.console.api import calls, corrections, runs, state
from watchllm_proxy.console.assets import static_file
from watchllm_proxy.console.desk import CorrectionDesk, NobodysDesk
from watchllm_proxy.console.guard import add_security_headers, own_host_only, own_pages_only, readable_errors
from watchllm_proxy.console.pages import corrections as correction_forms
from watchllm_proxy.console.pages import run as run_pages
from watchllm_proxy.console.pages import runs as runs_pages
from watchllm_proxy.console.pages import welcome
from watchllm_proxy.console.reading import RunReading
from watchllm_proxy.settings import Settings

# A run id may hold encoded slashes, and `.json` must be tried before the page that takes any id.
ROUTES = (
    web.get("/", welcome.home),
    web.get("/welcome", welcome.welcome_page),
    web.get("/runs", runs_pages.runs_page),
    web.get("/runs/{run_id}.json", run_pages.run_json),
    web.get("/runs/{run_id}", run_pages.run_page),
    web.get("/runs/{run_id}/steps", run_pages.run_columns),
    web.get(r"/runs/{run_id}/steps/{index:\d{1,9}}", run_pages.run_step),
    web.post("/runs/{run_id}/merge", correction_forms.merge_form),
    web.post("/runs/{run_id}/split", correction_forms.split_form),
    web.post("/runs/{run_id}/undo", correction_forms.undo_form),
    web.get("/samples/{name}", run_pages.sample_page),
    web.get("/samples/{name}/steps", run_pages.sample_columns),
    web.get(r"/samples/{name}/steps/{index:\d{1,9}}", run_pages.sample_step),
    web.get("/api/agent-runs", runs.list_runs),
    web.get("/api/agent-runs/fixture/{name:normal|loop|high-cost}", runs.debug_sample),
    web.get("/api/agent-runs/{run_id}/debug", runs.debug_run),
    web.post("/api/agent-runs/{run_id}/merge", corrections.merge_run),
    web.post("/api/agent-runs/{run_id}/split", corrections.split_run),
    web.post("/api/agent-runs/{run_id}/undo", corrections.undo_correction),
    web.get("/api/calls", calls.recent_calls),
    web.get("/api/calls/{call_id}", calls.one_call),
    web.get("/api/calls/{call_id}/raw/{part:request|answer}", calls.raw_body),
    web.get("/healthz", state.healthz),
    web.get("/readyz", state.readyz),
    web.get("/openapi.json", state.openapi),
    web.get("/static/{version}/{name}", static_file),
)


def build_app(
    reading: RunReading,
    *,
    settings: Settings,
    health: context.HealthOf,
    project_of: context.ProjectOf = context.default_project,
    desk: CorrectionDesk | None = None,
) -> web.Application:
    """The application over one store. Without a `desk` runs cannot be corrected.

    `health` is asked by the welcome page and `/readyz`; it should answer from memory. `project_of` decides
    what a request may read.
    """
    app = web.Application(middlewares=[own_host_only, readable_errors, own_pages_only])
    app[context.READING] = reading
    app[context.DESK] = desk or NobodysDesk()
    app[context.SETTINGS] = settings
    app[context.HEALTH] = health
    app[context.PROJECT_OF] = project_of
    app.on_response_prepare.append(add_security_headers)
    app.add_routes(ROUTES)
    return app
