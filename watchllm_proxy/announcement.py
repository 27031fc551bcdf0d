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

    With `only_env` stdout holds nothing but that line, for `eval "$(watchllm up -d --print-env)"`.
    """

    def __init__(self, *, only_env: bool = False, last_words: str = WAITING) -> None:
        self._only_env = only_env
        self._last_words = last_words
        self._terminal = Terminal()

    def serving(self, settings: Settings) -> None:
        self._tell_proxy(settings.base_url, settings.upstream_url)

    def _tell_proxy(self, url: str, upstream_url: str) -> None:
        upstream = urllib.parse.urlsplit(upstream_url).netloc
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
        self._tell_dashboard(settings.base_url)
        if not self._only_env:
            self._terminal.err.print(Text(f"\n{self._last_words}", style="dim"))

    def _tell_dashboard(self, url: str) -> None:
        self._terminal.err.print(Text.assemble(("✓ ", "green"), "dashboard  ", (f"{url}/", "underline blue")))

    def in_background(self, url: str, upstream_url: str, pid: int, *, was_running: bool) -> None:
        """Of an `up` without a terminal: requests pass, and the dashboard follows within seconds."""
        self._tell_proxy(url, upstream_url)
        self._tell_dashboard(url)
        state = "It was running already" if was_running else "Running in the background"
        self._terminal.say(f"{state} (pid {pid}); `watchllm down` stops it.", style="dim")

    def stopping(self, settings: Settings) -> None:
        limit = f"for at most {settings.drain_timeout_s:.0f} s; once more cuts them"
        self._terminal.say(f"Stopping: open answers finish ({limit}), then the rest is stored.", style="dim")
