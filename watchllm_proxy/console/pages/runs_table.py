"""`GET /runs.csv`: the list of runs for a spreadsheet, with the figures that its small charts are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from watchllm_proxy.console.api.debug import duration_ms
from watchllm_proxy.console.context import now_us, project_of, reading_of
from watchllm_proxy.console.formats import instant
from watchllm_proxy.console.queries import run_query
from watchllm_proxy.console.redaction import as_stored
from watchllm_proxy.console.tables import table_answer, table_of
from watchllm_proxy.store.shapes import RunRow

COLUMNS: Final = (
    "run_id", "agent_name", "agent_version", "title", "session_id", "status", "started_at", "ended_at",
    "duration_ms", "total_steps", "error_count", "input_tokens", "output_tokens", "cache_read_input_tokens",
    "total_cost_usd", "unpriced_calls", "flags", "tokens_by_call",
)  # fmt: skip


async def runs_csv(request: web.Request) -> web.Response:
    """A line for each run that the same filters give, in the same order."""
    query = run_query(request.query, now_us())
    reading, project_id = reading_of(request), project_of(request)
    found = await reading.list_runs(project_id, await as_stored(request, query))
    tokens = await reading.get_tokens(project_id, [row.run for row in found.rows])
    lines = (_line(row, tokens.get(row.run.run_id, ())) for row in found.rows)
    return table_answer("runs.csv", table_of(COLUMNS, lines))


def _line(row: RunRow, tokens: Sequence[int]) -> list[object]:
    run = row.run
    return [
        run.run_id, run.agent_name, run.agent_version, run.title, run.session_id, run.status.value,
        instant(run.started_at_us), instant(run.ended_at_us), duration_ms(run), run.total_steps, run.error_count,
        run.input_tokens, run.output_tokens, run.cache_read_input_tokens, run.total_cost_usd, run.unpriced_calls,
        " ".join(dict.fromkeys(flag.kind.value for flag in row.flags)), " ".join(map(str, tokens)),
    ]  # fmt: skip
