"""What `watchllm up` and `watchllm demo` say once they serve: where to point an agent, where to look."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping

from rich.text import Text

from watchllm_proxy.commands.terminal import Terminal
from watchllm_proxy.settings import Settings

WAITING = "Waiting for the first request. Ctrl-C stops; nothing is lost."


class Announcement:
    """The export line on stdout, as soon as requests pass; everything else on stderr.

    With `only_env` stdout holds nothing but that line, for `eval "$(watchllm up --print-env)"`-like use.
    """

    def __init__(self, *, only_env: bool = False, last_words: str = WAITING) -> None:
        self._only_env = only_env
        self._last_words = last_words
        self._terminal = Terminal()

    def serving(self, settings: Settings) -> None:
        url = settings.base_url
        upstream = urllib.parse.urlsplit(settings.upstream_url).netloc
        say = self._terminal.err.print
        say(Text.assemble(("✓ ", "green"), "proxy      ", (f"{url}/v1", "bold"), (f"  → {upstream}", "dim")))
        if not self._only_env:
            say("\nPoint your agent here and start it as usual:")
        self._terminal.line(Text(f"export OPENAI_BASE_URL={url}/v1", style="cyan"))
        if not self._only_env:
            say("")

    def missing(self, problems: Mapping[str, str]) -> None:
        for name, problem in sorted(problems.items()):
            self._terminal.err.print(Text.assemble(("! ", "yellow"), f"{name:<11}{problem}"))

    def ready(self, settings: Settings) -> None:
        say = self._terminal.err.print
        say(Text.assemble(("✓ ", "green"), "dashboard  ", (f"{settings.base_url}/", "underline blue")))
        if not self._only_env:
            say(Text(f"\n{self._last_words}", style="dim"))

    def stopping(self, settings: Settings) -> None:
        limit = f"for at most {settings.drain_timeout_s:.0f} s; once more cuts them"
        self._terminal.say(f"Stopping: open answers finish ({limit}), then the rest is stored.", style="dim")
