"""The console's application: routes, and what every handler shares. Served on a unix socket behind the proxy."""

from __future__ import annotations

import re
from collections.abc import Iterable

import asyncpg
from aiohttp import web

from watchllm_proxy.console import context, login
from watchllm_proxy.console.account import NobodysAccounts, within_plan
from watchllm_proxy.console.api import account as account_api
from watchllm_proxy.console.api import calls, corrections, events, live, runs, state
from watchllm_proxy.console.api import jobs as jobs_api
from watchllm_proxy.console.api import keys as keys_api
from watchllm_proxy.console.api import prices as prices_api
from watchllm_proxy.console.api import redaction as redaction_api
from watchllm_proxy.console.api import search as search_api
from watchllm_proxy.console.assets import static_file
from watchllm_proxy.console.desk import CorrectionDesk, NobodysDesk
from watchllm_proxy.console.guard import (
    add_security_headers,
    known_visitors_only,
    own_host_only,
    own_pages_only,
    readable_errors,
    storable_addresses_only,
)
from watchllm_proxy.console.jobs import EXPORTS, UPKEEP, ExportDesk, NobodysExports, NobodysUpkeep
from watchllm_proxy.console.loading import LineMemory
from watchllm_proxy.console.memory import forgetting
from watchllm_proxy.console.pages import account as account_pages
from watchllm_proxy.console.pages import corrections as correction_forms
from watchllm_proxy.console.pages import costs as costs_pages
from watchllm_proxy.console.pages import data as data_pages
from watchllm_proxy.console.pages import export as export_pages
from watchllm_proxy.console.pages import flags as flags_pages
from watchllm_proxy.console.pages import jobs as jobs_pages
from watchllm_proxy.console.pages import keys as keys_pages
from watchllm_proxy.console.pages import prices as prices_pages
from watchllm_proxy.console.pages import projects as projects_pages
from watchllm_proxy.console.pages import redaction as redaction_pages
from watchllm_proxy.console.pages import run as run_pages
from watchllm_proxy.console.pages import runs as runs_pages
from watchllm_proxy.console.pages import runs_table, welcome
from watchllm_proxy.console.pages import sessions as sessions_pages
from watchllm_proxy.console.polling import unchanged_is_304
from watchllm_proxy.console.reading import RunReading
from watchllm_proxy.console.redaction import NobodysRedaction, RedactionDesk
from watchllm_proxy.console.spending import SPENDING, SpendingMemory
from watchllm_proxy.console.topbar import QUOTAS, with_top_bar
from watchllm_proxy.grants import Scope
from watchllm_proxy.settings import Settings
from watchllm_proxy.store.account_desk import StoredAccounts
from watchllm_proxy.store.plans import Feature
from watchllm_proxy.store.upkeep_desk import StoredUpkeep

# Who may come here: everybody, who may read the project, who may change it. A route stands in one of the three.
# A run id may hold encoded slashes, and `.json` and its like must be tried before the page that takes any id.
OPEN_ROUTES = (
    web.get("/samples/{name}", run_pages.sample_page),
    web.get("/samples/{name}/steps", run_pages.sample_columns),
    web.get(r"/samples/{name}/steps/{index:\d{1,9}}", run_pages.sample_step),
    web.get("/samples/{name}/search", search_api.search_sample),
    web.get("/api/agent-runs/fixture/{name:normal|loop|high-cost}", runs.debug_sample),
    web.get("/healthz", state.healthz),
    web.get("/readyz", state.readyz),
    web.get("/openapi.json", state.openapi),
    web.get("/login", login.login_page),
    web.post("/login", login.login_form),
    web.post("/logout", login.logout_form),
    web.get("/static/{version}/{name}", static_file),
)
READ_ROUTES = (
    web.get("/", welcome.home),
    web.get("/welcome", welcome.welcome_page),
    web.get("/runs", runs_pages.runs_page),
    web.get("/welcome.json", welcome.welcome_json),
    web.get("/runs.json", runs.list_runs),
    web.get("/runs.csv", runs_table.runs_csv),
    web.get("/sessions", sessions_pages.sessions_page),
    web.get("/sessions.json", sessions_pages.sessions_json),
    web.get("/sessions/{session_id}.json", sessions_pages.session_json),
    web.get("/sessions/{session_id}", sessions_pages.session_page),
    web.get("/runs/{run_id}.json", export_pages.run_json),
    web.get("/runs/{run_id}.ndjson", export_pages.run_ndjson),
    web.get("/runs/{run_id}.md", export_pages.run_markdown),
    web.get("/runs/{run_id}", run_pages.run_page),
    web.get("/runs/{run_id}/steps", run_pages.run_columns),
    web.get(r"/runs/{run_id}/steps/{index:\d{1,9}}", run_pages.run_step),
    web.get(r"/runs/{run_id}/steps/{index:\d{1,9}}/changes", run_pages.run_changes),
    web.get(r"/runs/{run_id}/steps/{index:\d{1,9}}/result", run_pages.run_result),
    web.get(r"/runs/{run_id}/steps/{index:\d{1,9}}/copy/{language:curl|python}", run_pages.run_copy),
    web.get("/api/agent-runs", runs.list_runs),
    web.get("/api/agent-runs/{run_id}", runs.one_run),
    web.get("/api/agent-runs/{run_id}/debug", runs.debug_run),
    web.get("/api/agent-runs/{run_id}/events", live.run_events),
    web.get("/api/agent-runs/{run_id}/search", search_api.search_run),
    web.post("/v1/events/query", events.query_events),
    web.get("/api/calls", calls.recent_calls),
    web.get("/api/calls/{call_id}", calls.one_call),
    web.get("/api/calls/{call_id}/raw/{part:request|answer}", calls.raw_body),
    web.get("/api/calls/{call_id}/files/{digest}", calls.one_file),
    web.get("/api/projects", keys_api.list_projects),
    web.get("/jobs", jobs_pages.jobs_page),
    web.get("/jobs.json", jobs_pages.jobs_json),
    web.get("/jobs/{job_id}.json", jobs_pages.job_json),
    web.get("/jobs/{job_id}.ndjson", jobs_pages.job_file),
    web.get("/jobs/{job_id}", jobs_pages.job_page),
    web.get("/costs", costs_pages.costs_page),
    web.get("/costs.json", costs_pages.costs_json),
    web.get("/costs.csv", costs_pages.costs_csv),
    web.get("/settings", account_pages.settings_home),
    web.get("/usage", account_pages.usage_page),
    web.get("/pricing", account_pages.pricing_page),
    web.get("/api/usage", account_api.usage),
    web.get("/api/plans", account_api.plans),
    web.get("/api/project", account_api.project),
    web.get("/usage.json", account_api.usage),
    web.get("/pricing.json", account_api.plans),
    web.get("/settings/redaction.json", redaction_api.show_redaction),
    web.get("/settings/prices.json", prices_api.show_prices),
    web.get("/settings/projects.json", keys_api.list_projects),
    web.get("/settings/data", data_pages.data_page),
    web.get("/settings/data.json", data_pages.data_json),
    web.get("/settings/flags", flags_pages.flags_page),
    web.get("/settings/redaction", redaction_pages.redaction_page),
    web.get("/api/redaction", redaction_api.show_redaction),
    web.get("/settings/prices", prices_pages.prices_page),
    web.get("/api/prices", prices_api.show_prices),
)
ADMIN_ROUTES = (
    web.post("/runs/{run_id}/merge", correction_forms.merge_form),
    web.post("/runs/{run_id}/split", correction_forms.split_form),
    web.post("/runs/{run_id}/undo", correction_forms.undo_form),
    web.post("/api/agent-runs/{run_id}/merge", corrections.merge_run),
    web.post("/api/agent-runs/{run_id}/split", corrections.split_run),
    web.post("/api/agent-runs/{run_id}/undo", corrections.undo_correction),
    web.post("/jobs", jobs_pages.export_form),
    web.post("/jobs/{job_id}/cancel", jobs_pages.cancel_form),
    web.post("/api/exports", jobs_api.ask_for_export),
    web.post("/api/exports/{job_id}/cancel", jobs_api.cancel_export),
    web.post("/api/erasures", jobs_api.ask_for_erasure),
    web.post("/api/projects", keys_api.create_project),
    web.post("/api/projects/{project_id}/rotate", keys_api.rotate_project),
    web.post("/api/projects/{project_id}/revoke", keys_api.revoke_project),
    web.get("/api/keys", keys_api.list_keys),
    web.post("/api/keys", keys_api.create_key),
    web.delete("/api/keys/{key_id}", keys_api.revoke_key),
    web.post("/api/keys/{key_id}/rotate", keys_api.rotate_key),
    web.get("/api/provider-key", keys_api.show_provider_key),
    web.put("/api/provider-key", keys_api.set_provider_key),
    web.delete("/api/provider-key", keys_api.remove_provider_key),
    web.get("/settings/keys.json", keys_api.list_keys),
    web.get("/settings/keys", keys_pages.keys_page),
    web.post("/settings/keys", keys_pages.create_form),
    web.post("/settings/keys/{key_id}/rotate", keys_pages.rotate_form),
    web.post("/settings/keys/{key_id}/revoke", keys_pages.revoke_form),
    web.post("/settings/keys/{key_id}/limits", keys_pages.limits_form),
    web.post("/settings/provider-key", keys_pages.provider_key_form),
    web.get("/settings/projects", projects_pages.projects_page),
    web.post("/settings/projects", projects_pages.create_form),
    web.get("/settings/projects/{project_id}", projects_pages.project_page),
    web.post("/settings/projects/{project_id}", projects_pages.project_form),
    web.post("/settings/projects/{project_id}/rotate", projects_pages.rotate_form),
    web.post("/settings/projects/{project_id}/revoke", projects_pages.revoke_form),
    web.post("/pricing", account_pages.choose_plan),
    web.patch("/api/project", account_api.change_project),
    web.patch("/api/keys/{key_id}/limits", account_api.limit_key),
    web.post("/settings/data", data_pages.retention_form),
    web.post("/settings/data/erase", data_pages.erase_form),
    web.post("/settings/flags", flags_pages.flags_form),
    web.post("/settings/redaction", redaction_pages.redaction_form),
    web.post("/settings/prices", prices_pages.prices_form),
    web.put("/api/prices", prices_api.set_price),
    web.delete("/api/prices", prices_api.remove_price),
    web.patch("/api/redaction", redaction_api.change_redaction),
    web.post("/api/redaction/try", redaction_api.try_redaction),
)
# What a plan may be without. A handler that is not there is in every plan.
FEATURES: dict[object, Feature] = {
    **dict.fromkeys(
        (
            runs_pages.runs_page,
            runs.list_runs,
            runs_table.runs_csv,
            sessions_pages.sessions_page,
            sessions_pages.sessions_json,
            sessions_pages.session_page,
            sessions_pages.session_json,
            calls.recent_calls,
            calls.one_call,
            calls.raw_body,
            calls.one_file,
        ),
        Feature.DASHBOARD,
    ),
    **dict.fromkeys(
        (costs_pages.costs_page, costs_pages.costs_json, costs_pages.costs_csv), Feature.COST_ATTRIBUTION
    ),
    **dict.fromkeys(
        (
            run_pages.run_page,
            export_pages.run_json,
            export_pages.run_ndjson,
            export_pages.run_markdown,
            run_pages.run_columns,
            run_pages.run_step,
            run_pages.run_changes,
            run_pages.run_result,
            run_pages.run_copy,
            runs.one_run,
            runs.debug_run,
            live.run_events,
            search_api.search_run,
        ),
        Feature.DEBUGGER,
    ),
}
ROUTES = (*OPEN_ROUTES, *READ_ROUTES, *ADMIN_ROUTES)
_PLACE = re.compile(r"\{(\w+)\}")


def build_app(
    reading: RunReading,
    *,
    settings: Settings,
    health: context.HealthOf,
    visitor_of: context.VisitorOf = context.owner_of_default,
    desk: CorrectionDesk | None = None,
    redaction: RedactionDesk | None = None,
    exports: ExportDesk | None = None,
    pool: asyncpg.Pool | None = None,
) -> web.Application:
    """The application over one store. Without a `desk` runs cannot be corrected, without `redaction` nothing
    about it can be changed, without `exports` none are made; keys, plans and usage are in the Postgres of `pool`.

    `health` is asked by the welcome page and `/readyz`; it should answer from memory. `visitor_of` decides
    what a request may see and do.
    """
    guards = [
        own_host_only,
        readable_errors,
        storable_addresses_only,
        own_pages_only,
        known_visitors_only,
        with_top_bar,
        within_plan,
        unchanged_is_304,
    ]
    app = web.Application(middlewares=guards)
    app[context.READING] = reading
    app[SPENDING] = spent = SpendingMemory()
    app[context.LINES] = lines = LineMemory()
    app[run_pages.MADE] = made = run_pages.MadeMemory()
    app.cleanup_ctx.append(forgetting([spent, lines, lines.redacted, made.drawn, made.lists]))
    app[context.DESK] = desk or NobodysDesk()
    app[context.REDACTION] = redaction or NobodysRedaction()
    app[context.ACCOUNTS] = StoredAccounts(pool) if pool is not None else NobodysAccounts()
    app[EXPORTS] = exports or NobodysExports()
    app[UPKEEP] = StoredUpkeep(pool) if pool is not None else NobodysUpkeep()
    app[context.FEATURES] = FEATURES
    app[QUOTAS] = {}
    app[context.POOL] = pool
    app[context.LOGINS] = login.Logins()
    app[context.SETTINGS] = settings
    app[context.HEALTH] = health
    app[context.VISITOR_OF] = visitor_of
    app[context.NEEDED] = {}
    app[live.LISTENERS] = listeners = live.Listeners()
    app.on_shutdown.append(listeners.stop)
    app.on_response_prepare.append(add_security_headers)
    add_routes(app, OPEN_ROUTES, None)
    add_routes(app, READ_ROUTES, Scope.READ)
    add_routes(app, ADMIN_ROUTES, Scope.ADMIN)
    return app


def add_routes(app: web.Application, routes: Iterable[web.RouteDef], needed: Scope | None) -> None:
    """Serve `routes` to whoever has the scope `needed`; None: to everybody."""
    for route in app.add_routes(_taking_any_id(route) for route in routes):
        app[context.NEEDED][route.handler] = needed


def _taking_any_id(route: web.RouteDef) -> web.RouteDef:
    """An id may hold braces, as `{run_id}` does that nobody filled in; aiohttp's own `{name}` takes none."""
    return web.RouteDef(route.method, _PLACE.sub(r"{\1:[^/]+}", route.path), route.handler, route.kwargs)
