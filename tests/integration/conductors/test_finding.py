"""A text in the bodies of a run, looked for by ClickHouse: told at the call that brought it up."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import pytest

from tests.integration.conductors.recording import Recording, run_until_stored
from tests.integration.conductors.test_spending import PICTURE, asked, reading_of
from watchllm_proxy.records import DEFAULT_PROJECT_ID, Run
from watchllm_proxy.store import found_texts
from watchllm_proxy.store.found_texts import FoundText

ARGUMENTS = orjson.dumps({"path": 'C:\\new "folder"', "kind": "Überblick"}).decode()
SYSTEM: dict[str, object] = {"role": "system", "content": "Be brief about zebras."}
SHOWN: dict[str, object] = {
    "role": "user",
    "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}],
}
ASKED: dict[str, object] = {
    "role": "assistant",
    "tool_calls": [{"id": "id-1", "type": "function", "function": {"name": "look", "arguments": ARGUMENTS}}],
}
TOLD: dict[str, object] = {"role": "tool", "tool_call_id": "id-1", "content": "a lone okapi, 100 % sure_"}


async def recorded(recording: Recording) -> Run:
    before: list[dict[str, object]] = [SYSTEM, SHOWN]
    exchanges = [
        asked(0, before, answer="A zebra crossing."),
        asked(1, [*before, ASKED, TOLD], answer="So it is."),
    ]
    await recording.write(exchanges)
    await run_until_stored(recording.recorder())
    found = await reading_of(recording).get_run(DEFAULT_PROJECT_ID, "task")
    assert found is not None
    return found.run


def told(found: Sequence[FoundText] | None) -> list[tuple[str, bool, tuple[str, ...]]]:
    assert found is not None
    return [(each.role, each.is_answer, each.tool_call_ids) for each in found]


async def test_a_text_is_found_where_it_was_said_first_and_not_in_forms(recording: Recording) -> None:
    run = await recorded(recording)
    reading = reading_of(recording)

    async def found(wanted: str) -> list[tuple[str, bool, tuple[str, ...]]]:
        return told(await reading.find_texts(DEFAULT_PROJECT_ID, run, wanted))

    of_the_result = [("tool", False, ("id-1",))]
    assert await found("OKAPI") == await found("okapi, 100 % sure_") == of_the_result  # once, and whose it is
    assert await found("zebra") == [("system", False, ()), ("assistant", True, ())]
    assert await found('new "folder"') == [("assistant", False, ())]
    assert await found("überBLICK") == [("assistant", False, ())]
    assert await found("iVBORw0KGgo") == []  # a picture is not text
    assert await found("content") == await found("tool_call_id") == []
    assert await found("' OR 1 = 1 --") == []
    assert await reading.find_texts("somebody-else", run, "zebra") == ()


async def test_a_run_that_is_too_long_says_so(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await recorded(recording)
    monkeypatch.setattr(found_texts, "MAX_MESSAGES_SENT", 1)
    assert await reading_of(recording).find_texts(DEFAULT_PROJECT_ID, run, "zebra") is None
