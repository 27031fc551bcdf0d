"""`watchllm runs | show | tail | open`: what the running server knows, in a terminal."""

from __future__ import annotations

import time
import webbrowser
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import RenderableType

from watchllm_proxy.commands import options
from watchllm_proxy.commands.api_client import (
    ApiClient,
    CommandFailed,
    ExitStatus,
    NotFound,
    Query,
    ServerUnreachable,
)
from watchllm_proxy.commands.lines import RUN_COLUMNS, call_line, is_failed, run_cells, short_ids
from watchllm_proxy.commands.terminal import Terminal, clean, errors_told, table
from watchllm_proxy.commands.tree import render_tree
from watchllm_proxy.console.addresses import encode_id, run_path
from watchllm_proxy.console.formats import count_of
from watchllm_proxy.demo.json_access import JsonObject, as_int, as_list, as_object, as_text
from watchllm_proxy.records import RunStatus

POLL_INTERVAL_S = 0.5
CALLS_A_POLL = 200
MAX_PREFIX_MATCHES = 100
SHOWN_MATCHES = 5
MAX_CHILDREN = 50


def add_to(app: typer.Typer) -> None:
    for command in (runs, show, tail):
        app.command()(command)
    app.command("open")(open_)


# --- runs -------------------------------------------------------------------------------------------


def runs(
    *,
    since: options.Since = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Only runs of this agent.")] = None,
    status: Annotated[RunStatus | None, typer.Option("--status", help="Only runs that are so.")] = None,
    flag: Annotated[
        str | None, typer.Option("--flag", help="Only runs with this flag, e.g. loop_detected.")
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Only runs with an error, however they ended.")] = False,
    search: Annotated[str | None, typer.Option("--search", "-q", help="Words in title, agent or id.")] = None,
    chats: Annotated[bool, typer.Option("--chats", help="Lone chats too, not only agents.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many, newest first.")] = 20,
    as_json: options.Json = False,
    as_ndjson: options.Ndjson = False,
    url: options.Url = None,
) -> None:
    """List agent runs, newest first."""
    with errors_told():
        terminal, client, now = Terminal(), options.client(url), datetime.now(UTC)
        query: Query = {
            "since": options.instant_of(since, now),
            "agent": agent,
            "status": status.value if status else None,
            "flag": flag,
            "errors": "any" if errors else None,
            "q": search,
            "kind": "all" if chats else None,
            "limit": limit,
        }
        if as_json:
            terminal.json_bytes(client.get_bytes("/api/agent-runs", query))
        else:
            document = as_object(client.get("/api/agent-runs", query))
            _print_runs(terminal, document, now, as_ndjson=as_ndjson)
            if not as_ndjson and not as_list(document.get("runs")):
                _say_nothing_found(terminal, client, query)
        terminal.link(f"{client.url}/runs")


def _print_runs(terminal: Terminal, document: JsonObject, now: datetime, *, as_ndjson: bool) -> None:
    found = [as_object(run) for run in as_list(document.get("runs"))]
    if as_ndjson:
        for run in found:
            terminal.json(run)
        return
    if not found:
        return
    ids = [as_text(run.get("run_id")) for run in found]
    shown = short_ids(ids) if terminal.is_interactive else ids
    for line in table(RUN_COLUMNS, [run_cells(run, name, now) for run, name in zip(found, shown, strict=True)]):
        terminal.line(line)
    terminal.say(f"{len(found)} of {as_int(document.get('total')) or len(found)} runs", style="dim")


FILTERS = ("since", "agent", "status", "flag", "q")


def _say_nothing_found(terminal: Terminal, client: ApiClient, query: Query) -> None:
    """A first `curl` is a lone chat: whoever looks for it should learn where it is."""
    everything = as_object(client.get("/api/agent-runs", {**query, "kind": "all", "limit": 1}))
    if chats := as_int(everything.get("total")):
        terminal.say(f"No runs of agents, but {count_of(chats, 'lone chat')}: --chats shows them.")
    elif any(query.get(name) is not None for name in FILTERS):
        terminal.say("No run is like that. `watchllm runs` lists all.")
    else:
        terminal.say("No runs. Point an agent at the proxy, or try `watchllm demo`.")


# --- show -------------------------------------------------------------------------------------------


def show(
    run: Annotated[str, typer.Argument(help="A run id, or the beginning of one.")],
    *,
    as_json: options.Json = False,
    as_ndjson: options.Ndjson = False,
    url: options.Url = None,
) -> None:
    """Show one run as a tree of its steps and sub-agents."""
    with errors_told():
        terminal, client = Terminal(), options.client(url)
        run_id, body = find_run(client, run)
        if as_json:
            terminal.json_bytes(body)
        elif as_ndjson:
            for step in _steps(client, run_id):
                terminal.json(step)
        else:
            terminal.show(run_tree(client, run_id))
        terminal.link(client.url + run_path(run_id))


def run_tree(client: ApiClient, run_id: str) -> RenderableType:
    """The run with the runs of its sub-agents, and theirs, as far as a screen can hold them.

    Who is whose parent may be a client's word, so the runs may form a loop: each is drawn once.
    """
    debug = _debug(client, run_id)
    children: dict[str, JsonObject] = {}
    seen = {run_id}
    waiting = _take_children(debug, seen)
    while waiting and len(children) < MAX_CHILDREN:
        child_id = waiting.pop(0)
        children[child_id] = _debug(client, child_id)
        waiting += _take_children(children[child_id], seen)
    return render_tree(debug, children)


def _take_children(debug: JsonObject, seen: set[str]) -> list[str]:
    """Ids of the children not seen yet; those that were are taken out of the document."""
    document = as_object(debug.get("debug"))
    fresh: dict[str, object] = {}
    for child in as_list(document.get("children")):
        child_id = as_text(as_object(child).get("run_id"))
        if child_id not in seen:
            fresh[child_id] = child
    document["children"] = list(fresh.values())
    seen.update(fresh)
    return list(fresh)


def _steps(client: ApiClient, run_id: str) -> list[object]:
    return as_list(as_object(_debug(client, run_id).get("debug")).get("steps"))


def _debug(client: ApiClient, run_id: str) -> JsonObject:
    return as_object(client.get(_debug_path(run_id)))


def _debug_path(run_id: str) -> str:
    return f"/api/agent-runs/{encode_id(run_id)}/debug"


def find_run(client: ApiClient, wanted: str) -> tuple[str, bytes]:
    """The run with this id, else the only one whose id begins so. Returns its id and its document."""
    try:
        return wanted, client.get_bytes(_debug_path(wanted))
    except NotFound:
        run_id = _only_match(client, wanted)
    return run_id, client.get_bytes(_debug_path(run_id))


def _only_match(client: ApiClient, prefix: str) -> str:
    query: Query = {"q": prefix, "kind": "all", "limit": MAX_PREFIX_MATCHES}
    listed = as_list(as_object(client.get("/api/agent-runs", query)).get("runs"))
    ids = [as_text(as_object(run).get("run_id")) for run in listed]
    matches = [run_id for run_id in ids if run_id.startswith(prefix)]
    if not matches:
        raise NotFound(f"there is no run {clean(prefix)!r}; `watchllm runs` lists them")
    if len(matches) > 1:
        some = ", ".join(clean(run_id) for run_id in matches[:SHOWN_MATCHES])
        more = ", …" if len(matches) > SHOWN_MATCHES else ""
        raise CommandFailed(
            f"{len(matches)} runs begin with {clean(prefix)!r}: {some}{more}. Type more of it.", ExitStatus.USAGE
        )
    return matches[0]


# --- open -------------------------------------------------------------------------------------------


def open_(
    run: Annotated[str, typer.Argument(help="A run id, or the beginning of one.")],
    *,
    step: Annotated[int | None, typer.Option("--step", help="At this step.", min=0)] = None,
    only_print: Annotated[bool, typer.Option("--print", help="Only its address, on stdout.")] = False,
    as_json: options.Json = False,
    url: options.Url = None,
) -> None:
    """Open a run in the browser. In a pipe: its address."""
    with errors_told():
        terminal, client = Terminal(), options.client(url)
        run_id, _ = find_run(client, run)
        address = client.url + run_path(run_id) + ("" if step is None else f"#step-{step}")
        if as_json:
            terminal.json({"run_id": run_id, "url": address})
        elif only_print or not terminal.is_interactive:
            terminal.address(address)
        elif webbrowser.open(address):
            terminal.link(address)
        else:
            terminal.address(address)
            raise CommandFailed("There is no browser here: open this address in one.")


# --- tail -------------------------------------------------------------------------------------------


def tail(
    *,
    agent: Annotated[str | None, typer.Option("--agent", help="Only calls of this agent.")] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Only calls that failed.")] = False,
    last: Annotated[int, typer.Option("--last", "-n", min=0, max=200, help="Begin with this many.")] = 10,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more, or end after these.")
    ] = True,
    as_json: options.Json = False,
    as_ndjson: options.Ndjson = False,
    url: options.Url = None,
) -> None:
    """Print one line for each model call as it is stored. Ctrl-C ends it."""
    with errors_told():
        terminal, client = Terminal(), options.client(url)
        zone = datetime.now().astimezone()
        try:
            for call in _calls(client, terminal, last=last, follow=follow):
                if (agent and call.get("agent_name") != agent) or (errors and not is_failed(call)):
                    continue
                if as_json or as_ndjson:
                    terminal.json(call)
                else:
                    terminal.line(call_line(call, zone))
        except KeyboardInterrupt:
            pass
        terminal.link(f"{client.url}/runs")


def _calls(client: ApiClient, terminal: Terminal, *, last: int, follow: bool) -> Iterator[JsonObject]:
    """The newest `last` calls, then each new one. A server that restarts is waited for, and that is told once."""
    newest, after = _fetch_calls(client, after=None, limit=max(last, 1))
    yield from newest[len(newest) - last :] if last else ()
    is_away = False
    while follow:
        time.sleep(POLL_INTERVAL_S)
        try:
            fresh, after = _fetch_calls(client, after=after, limit=CALLS_A_POLL)
        except ServerUnreachable:
            if not is_away:
                terminal.say("The server went away; waiting for it. Ctrl-C ends this.", style="yellow")
            is_away = True
            continue
        if is_away:
            terminal.say("The server is back.", style="green")
            is_away = False
        yield from fresh


def _fetch_calls(client: ApiClient, *, after: str | None, limit: int) -> tuple[list[JsonObject], str | None]:
    """Calls stored since `after`, oldest first, and what to ask with next time."""
    answer = as_object(client.get("/api/calls", {"after": after, "limit": limit}))
    calls = [as_object(call) for call in as_list(answer.get("calls"))]
    return calls, as_text(answer.get("next_after")) or after
