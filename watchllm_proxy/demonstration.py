"""CONDUCTOR of `watchllm demo`: the whole product on a scripted model, sample agents through it, their runs shown.

Everything is real but the model: the proxy, the capture log, the recorder, both stores and the dashboard.
Data lies in a temporary directory that is removed at the end.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from watchllm_proxy import logs, ports, settings
from watchllm_proxy.announcement import Announcement
from watchllm_proxy.app import run_up
from watchllm_proxy.commands.api_client import ApiClient
from watchllm_proxy.commands.reading import run_tree
from watchllm_proxy.commands.terminal import Terminal
from watchllm_proxy.demo.agents import run_all
from watchllm_proxy.demo.json_access import as_list, as_object
from watchllm_proxy.demo.model import ScriptedModel
from watchllm_proxy.errors import AlreadyRunning, WatchLLMError
from watchllm_proxy.settings import Settings, with_local_access

STORED_WITHIN_S = 30.0
POLL_S = 0.2
FINISHED = {"completed", "failed", "cancelled", "abandoned"}


class DemoFailed(WatchLLMError):
    """The sample runs did not show up in time."""


async def run_demo(*, host: str | None, port: int | None, leave: bool) -> None:
    """Run the demo; with `leave` end once the runs are stored and printed, else keep the dashboard open."""
    with tempfile.TemporaryDirectory(prefix="watchllm-demo-") as directory:
        model = ScriptedModel()
        await model.start()
        try:
            chosen = _settings(Path(directory), model.base_url, host, port)
            logs.configure(chosen.log_level, "demo", chosen.data_dir / "logs" / "demo.log")
            await _run(chosen, leave=leave)
        finally:
            await model.stop()


class _Heard(Announcement):
    """Announces as `watchllm up` does, and knows when all is there."""

    def __init__(self) -> None:
        super().__init__(last_words="Sample agents are at work …")
        self.running: Settings | None = None
        self.over = asyncio.Event()  # the start is: all is there, or it was given up

    def ready(self, settings: Settings) -> None:
        super().ready(settings)
        self.running = settings
        self.over.set()

    def stopping(self, settings: Settings) -> None:
        Terminal().say("Ending the demo …", style="dim")


async def _run(chosen: Settings, *, leave: bool) -> None:
    stop, heard = asyncio.Event(), _Heard()
    Terminal().say("Starting the proxy, the recorder, the stores and a scripted model …", style="dim")
    async with asyncio.TaskGroup() as task_group:
        up = task_group.create_task(run_up(chosen, heard, until=stop))
        up.add_done_callback(lambda _: heard.over.set())  # told to stop, or failed: the group raises why
        await heard.over.wait()
        if heard.running is None:
            return
        try:
            await _show_runs(heard.running)
            if not leave:
                Terminal().say(
                    "\nThe dashboard stays open. Ctrl-C ends the demo and removes its data.", style="dim"
                )
                await stop.wait()
        finally:
            stop.set()


async def _show_runs(running: Settings) -> None:
    """Run the agents, wait until each run is stored with its end, print each as a tree."""
    terminal = Terminal()
    url = running.base_url
    runs = await run_all(f"{url}/v1")
    client = ApiClient(url)
    children = {run.run_id for run in runs if run.parent_run_id is not None}
    for run_id in await _stored(client, len(runs)):
        if run_id not in children:  # those are shown inside their parents' trees
            terminal.show(await asyncio.to_thread(run_tree, client, run_id))
            terminal.link(f"{url}/runs/{run_id}")
            terminal.line("")


async def _stored(client: ApiClient, count: int) -> list[str]:
    """The ids of the runs, oldest first, once `count` of them are finished."""
    query = {"limit": "100", "sort": "started_at"}
    deadline = time.monotonic() + STORED_WITHIN_S
    while time.monotonic() < deadline:
        page = as_object(await asyncio.to_thread(client.get, "/api/agent-runs", query))
        runs = [as_object(run) for run in as_list(page.get("runs"))]
        finished = [str(run["run_id"]) for run in runs if run.get("status") in FINISHED]
        if len(finished) >= count:
            return finished
        await asyncio.sleep(POLL_S)
    raise DemoFailed(
        f"after {STORED_WITHIN_S:.0f} s not all of the {count} runs are stored; is this machine very busy?"
    )


def _settings(directory: Path, upstream_url: str, host: str | None, port: int | None) -> Settings:
    """The demo's own settings: nothing of the user's but the address, so that it cannot touch their data."""
    chosen = settings.load({}, host=host, port=port, data_dir=directory, upstream_url=upstream_url)
    if port is None:
        chosen = replace(chosen, port=_free_port(chosen))
    return with_local_access(chosen)


def _free_port(chosen: Settings) -> int:
    """The usual port, or any where it is taken: a demo should not fail because the product already runs."""
    try:
        ports.reserve(chosen.host, chosen.port).close()
    except AlreadyRunning as exc:
        Terminal().say(f"{exc} The demo takes another one.", style="dim")
        return 0
    return chosen.port
