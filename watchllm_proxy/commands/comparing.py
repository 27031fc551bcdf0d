"""`watchllm diff`: what changed between two requests of a run, in the marks of `git diff --word-diff`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.text import Text

from watchllm_proxy.commands import options
from watchllm_proxy.commands.api_client import ApiClient, CommandFailed, ExitStatus, NotFound
from watchllm_proxy.commands.reading import find_run
from watchllm_proxy.commands.terminal import Terminal, errors_told
from watchllm_proxy.console.addresses import encode_id, run_path
from watchllm_proxy.console.formats import count_of
from watchllm_proxy.demo.json_access import JsonObject, as_int, as_list, as_object, as_text
from watchllm_proxy.insights.differences import (
    Change,
    Differences,
    MessageChange,
    Piece,
    PrefixBreak,
    ValueChange,
    differences,
)

KEPT_AROUND = 80
"""Characters of what is the same that are shown on either side of a change."""
MAX_TEXT = 2000
"""Characters of a text that came or went."""

_MARKS = {
    Change.SAME: ("= ", "dim"),
    Change.CHANGED: ("~ ", "yellow"),
    Change.ADDED: ("+ ", "green"),
    Change.REMOVED: ("- ", "red"),
}
_BRACKETS = {Change.ADDED: ("{+", "+}", "green"), Change.REMOVED: ("[-", "-]", "red")}


def add_to(app: typer.Typer) -> None:
    app.command()(diff)


def diff(
    run: Annotated[str, typer.Argument(help="A run id, or the beginning of one.")],
    step: Annotated[int, typer.Argument(help="The number of a step of it.", min=0)],
    other: Annotated[
        int | None, typer.Argument(help="A later step. Not given: STEP against the call before it.", min=0)
    ] = None,
    *,
    as_json: options.Json = False,
    as_ndjson: options.Ndjson = False,
    url: options.Url = None,
) -> None:
    """Show what changed between two requests of a run: messages, parameters, tools, and where the prefix broke."""
    with errors_told():
        terminal, client = Terminal(), options.client(url)
        run_id, document = find_run(client, run)
        steps = _steps(document)
        before, now = (_before(steps, step), step) if other is None else (step, other)
        found = _differences(client, steps, before, now)
        if as_json:
            terminal.json({"run_id": run_id, "before": before, "now": now, **_plain(found)})
        elif as_ndjson:
            for what, each in _each(found):
                terminal.json({"what": what, **_plain(each)})
        else:
            for line in difference_lines(found):
                terminal.line(line)
            terminal.say(f"step {before} → step {now}: {_counts(found)}", style="dim")
        terminal.link(f"{client.url}{run_path(run_id)}#step-{now}/diff")


# --- two requests -----------------------------------------------------------------------------------


def _steps(document: bytes) -> dict[int, str]:
    """By number: the call of a step; "" where it has none."""
    debug = as_object(as_object(json.loads(document)).get("debug"))
    steps = [as_object(each) for each in as_list(debug.get("steps"))]
    return {as_int(each.get("step_index")) or 0: as_text(each.get("call_id")) for each in steps}


def _before(steps: dict[int, str], step: int) -> int:
    """The last step of the call before that of this one."""
    call_id = _call_of(steps, step)
    earlier = [index for index, each in sorted(steps.items()) if index < step and each not in ("", call_id)]
    if not earlier:
        raise CommandFailed(f"step {step} is of the first call: name another to compare it with", ExitStatus.USAGE)
    return earlier[-1]


def _call_of(steps: dict[int, str], step: int) -> str:
    if step not in steps:
        raise NotFound(f"there is no step {step}; `watchllm show` lists them")
    if not steps[step]:
        raise NotFound(f"step {step} was reported: it has no request to compare")
    return steps[step]


def _differences(client: ApiClient, steps: dict[int, str], before: int, now: int) -> Differences:
    try:
        return differences(*(_request(client, _call_of(steps, each), each) for each in (before, now)))
    except RecursionError as exc:
        raise CommandFailed("these requests are nested too deeply to be compared") from exc


def _request(client: ApiClient, call_id: str, step: int) -> object:
    document: object = json.loads(client.get_bytes(f"/api/calls/{encode_id(call_id)}"))
    request = as_object(as_object(document).get("call")).get("request")
    if request is None:
        raise NotFound(f"the request of step {step} is not stored (any more)")
    return request


def _plain(found: Differences | MessageChange | ValueChange | PrefixBreak) -> JsonObject:
    return {name: getattr(found, name) for name in found.__dataclass_fields__}


def _each(found: Differences) -> Iterator[tuple[str, MessageChange | ValueChange | PrefixBreak]]:
    if found.prefix_break is not None:
        yield "prefix_break", found.prefix_break
    yield from (("parameter", each) for each in found.parameters)
    yield from (("tool", each) for each in found.tools)
    yield from (("message", each) for each in found.messages)


# --- lines ------------------------------------------------------------------------------------------


def difference_lines(found: Differences) -> Iterator[Text]:
    """Nothing where nothing changed. Messages that are the same are one line."""
    if found.is_same:
        return
    if found.prefix_break is not None:
        yield Text(_broke(found.prefix_break), style="yellow")
    for title, changes in (("parameters", found.parameters), ("tools", found.tools)):
        for each in changes:
            yield _headed(each.change, f"{title[:-1]} {each.name}")
            yield from _body(each.pieces)
    same = 0
    for message in found.messages:
        if message.change is Change.SAME:
            same += 1
            continue
        yield from _same(same)
        same = 0
        yield _headed(message.change, _named(message))
        yield from _body(message.pieces)
    yield from _same(same)


def _broke(broke: PrefixBreak) -> str:
    if broke.message_index is None:
        return "the common prefix ends in the tools, which stand before every message"
    place = f"message {broke.message_index + 1} ({broke.role}), character {broke.character + 1:,}"
    return _shown(f"the common prefix ends at {place}")


def _named(message: MessageChange) -> str:
    places = [str(place + 1) for place in (message.before, message.now) if place is not None]
    return f"message {' → '.join(dict.fromkeys(places))} {message.role}"


def _same(count: int) -> Iterator[Text]:
    if count:
        yield _headed(Change.SAME, f"{count_of(count, 'message')} as before")


def _counts(found: Differences) -> str:
    if found.is_same:
        return "nothing changed"
    counts = [f"{count} {change}" for change in Change if (count := found.count(change))]
    return f"messages: {', '.join(counts) or 'none'}"


def _headed(change: Change, words: str) -> Text:
    mark, style = _MARKS[change]
    return Text.assemble((mark, style), (_shown(words), "bold" if change is not Change.SAME else "dim"))


def _body(pieces: tuple[Piece, ...]) -> Iterator[Text]:
    """Indented lines. A text that came or went whole needs no brackets: its mark is in the line above."""
    text = Text()
    for place, piece in enumerate(pieces):
        opened, closed, style = _BRACKETS.get(piece.change, ("", "", ""))
        if len(pieces) == 1:
            opened = closed = ""
        shown = _cut(piece, is_first=place == 0, is_last=place == len(pieces) - 1)
        text.append(f"{opened}{_shown(shown)}{closed}", style=style)
    for line in text.split("\n", allow_blank=True):
        yield Text.assemble("    ", line)


def _cut(piece: Piece, *, is_first: bool, is_last: bool) -> str:
    text = piece.text
    if piece.change is not Change.SAME:
        if len(text) <= MAX_TEXT:
            return text
        return f"{text[:MAX_TEXT]}… ({len(text) - MAX_TEXT:,} characters more: --json has all)"
    head, tail = 0 if is_first else KEPT_AROUND, 0 if is_last else KEPT_AROUND
    if len(text) <= head + tail + KEPT_AROUND:
        return text
    return text[:head] + "…" + text[len(text) - tail :]


def _shown(text: str) -> str:
    """Captured text over its lines: a control character in it must not steer somebody's terminal."""
    return "".join(char if char == "\n" or char.isprintable() else " " for char in text)
