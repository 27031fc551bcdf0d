"""What `watchllm up` and `watchllm demo` say once they serve: where to point an agent, where to look."""

from __future__ import annotations

import urllib.parse

from rich.text import Text

from watchllm_proxy.commands.terminal import Terminal
from watchllm_proxy.settings import Settings


def announce(settings: Settings, *, only_env: bool = False) -> None:
    """The export line on stdout, everything else on stderr.

    With `only_env` stdout holds nothing but that line, for `eval "$(watchllm up --print-env)"`-like use.
    """
    terminal = Terminal()
    url = settings.base_url
    upstream = urllib.parse.urlsplit(settings.upstream_url).netloc
    say = terminal.err.print
    say(Text.assemble(("✓ ", "green"), "proxy      ", (f"{url}/v1", "bold"), (f"  → {upstream}", "dim")))
    say(Text.assemble(("✓ ", "green"), "dashboard  ", (f"{url}/", "underline blue")))
    if not only_env:
        say("\nPoint your agent here and start it as usual:")
    terminal.line(Text(f"export OPENAI_BASE_URL={url}/v1", style="cyan"))
    if not only_env:
        say(Text("\nWaiting for the first request. Ctrl-C stops; nothing is lost.", style="dim"))
