"""From where on something is a flag: as its project says, live and when stored calls are thought about again."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import orjson
import pytest

from tests.integration.conductors.recording import Recording, chat, run_until_stored
from tests.integration.conductors.test_backfilling import LONG_AFTER_US, NOW_US, backfill
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.records import DEFAULT_PROJECT_ID
from watchllm_proxy.redacting import Redacting
from watchllm_proxy.store import project_settings


async def budget(recording: Recording, usd: Decimal | None) -> None:
    chosen = () if usd is None else (("run_budget_usd", usd),)
    pool = recording.runs.pool
    assert await project_settings.change(
        pool, DEFAULT_PROJECT_ID, lambda now: replace(now, flag_thresholds=chosen)
    )


async def flags(recording: Recording) -> dict[str, list[str]]:
    found = await recording.runs.pool.fetch("SELECT run_id, flags FROM agent_debug_logs WHERE run_id LIKE 'run-%'")
    return {row["run_id"]: [flag["kind"] for flag in orjson.loads(row["flags"])] for row in found}


async def test_a_projects_thresholds_hold_for_its_runs_live_and_thought_again(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_settings, "SETTINGS_S", 0.0)
    recorder = lambda: recording.recorder(redacting=Redacting(recording.runs.pool, bytes(32), RedactionMode.OFF))  # noqa: E731
    await recording.write([chat(1, run="run-1", ended_at_us=NOW_US)])
    await run_until_stored(recorder())
    await budget(recording, Decimal("0.000001"))
    await recording.write(
        [chat(2, run="run-2", ended_at_us=NOW_US + 1), chat(3, run="run-3", ended_at_us=LONG_AFTER_US)]
    )
    await run_until_stored(recorder())
    assert await flags(recording) == {"run-1": [], "run-2": ["budget_exceeded"], "run-3": ["budget_exceeded"]}

    await backfill(recording)
    assert (await flags(recording))["run-1"] == ["budget_exceeded"]
    await budget(recording, None)
    await backfill(recording)
    assert await flags(recording) == {"run-1": [], "run-2": [], "run-3": ["budget_exceeded"]}
