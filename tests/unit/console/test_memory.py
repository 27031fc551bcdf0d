from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from watchllm_proxy.console import memory as memory_module
from watchllm_proxy.console.memory import IDLE_S, Memory, forgetting


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_what_nobody_looked_at_is_forgotten_and_makes_room() -> None:
    clock = Clock()
    memory = Memory[str](kept=10, weight_of=len, clock=clock)
    memory.put("a", "alpha")
    memory.put("b", "beta")
    clock.now_s += IDLE_S - 1
    assert memory.get("a") == "alpha"
    clock.now_s += 1
    memory.forget_idle()
    assert (memory.get("a"), memory.get("b")) == ("alpha", None)
    memory.put("c", "gamma")
    assert memory.get("a") == "alpha"
    clock.now_s += IDLE_S
    memory.forget_idle()
    assert (memory.get("a"), memory.get("c")) == (None, None)
    memory.put("all", "ten places")
    assert memory.get("all") == "ten places"


async def test_an_application_has_its_memories_forget_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "LOOK_S", 0.001)
    clock, looked = Clock(), asyncio.Event()

    class Watched(Memory[str]):
        def forget_idle(self) -> None:
            super().forget_idle()
            looked.set()

    memory = Watched(kept=10, weight_of=len, clock=clock)
    memory.put("a", "alpha")
    app = web.Application()
    app.cleanup_ctx.append(forgetting([memory]))
    runner = web.AppRunner(app)
    await runner.setup()
    clock.now_s += IDLE_S
    looked.clear()
    await asyncio.wait_for(looked.wait(), 10)
    assert memory.get("a") is None
    await runner.cleanup()
    looked.clear()
    await asyncio.sleep(0.01)
    assert not looked.is_set()
