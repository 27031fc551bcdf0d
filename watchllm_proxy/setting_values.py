"""What a setting may be: each parser takes the text of one, or raises ValueError with what it has to be.

What gets past them is fit for its place: a key for a header, a time for a timer, days for a date.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from pathlib import Path

MIN_SECRET_CHARACTERS = 32
"""A passphrase would have to be stretched; secrets of ours are to be random."""

MAX_WHOLE = 2**62
MAX_DAYS = 36_500
MAX_HOURS = 24 * 366
MAX_WORKERS = 256
MIN_SECONDS = 0.001
MAX_SECONDS = 10 * 365 * 86_400.0


def word(raw: str) -> str:
    """One word of printable ASCII: it can stand in a header and behind a colon, and is never nothing at all."""
    if not raw or not raw.isascii() or not raw.isprintable() or " " in raw:
        raise ValueError("must be one word of printable ASCII: leave it out to have none")
    return raw


def _integer(raw: str) -> int:
    try:
        return int(raw)
    except ValueError:
        raise ValueError("must be a whole number") from None


def port(raw: str) -> int:
    number = _integer(raw)
    if not 0 <= number <= 65535:
        raise ValueError("a port is 0 to 65535 (0 lets the system choose)")
    return number


def _from_to(least: int, most: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        number = _integer(raw)
        if number < least:
            raise ValueError(f"must be at least {least}" if least else "must not be negative")
        if number > most:
            raise ValueError(f"must be at most {most}")
        return number

    return parse


count = _from_to(1, MAX_WHOLE)
whole = _from_to(0, MAX_WHOLE)
days = _from_to(0, MAX_DAYS)
hours = _from_to(0, MAX_HOURS)
workers = _from_to(1, MAX_WORKERS)


def seconds(raw: str) -> float:
    try:
        number = float(raw)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ValueError("must be a number of seconds above 0")
    if not MIN_SECONDS <= number <= MAX_SECONDS:
        raise ValueError(f"must be {MIN_SECONDS} to {MAX_SECONDS:.0f} seconds (ten years)")
    return number


def one_of(*words: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        chosen = raw.strip().lower()
        if chosen not in words:
            raise ValueError(f"must be {', '.join(words[:-1])} or {words[-1]}")
        return chosen

    return parse


def path(raw: str) -> Path:
    if not raw.strip() or not raw.isprintable():
        raise ValueError("must be a path: leave it out to have the usual one")
    return Path(raw).expanduser().absolute()


def flag(raw: str) -> bool:
    lowered = raw.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off"}:
        return False
    raise ValueError("must be on or off")


def url(*schemes: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        parts = urllib.parse.urlsplit(raw)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"must be a URL like {schemes[0]}://host/…")
        if not raw.isprintable() or " " in raw or not parts.path.isascii():
            raise ValueError("must hold no blanks, and in its path ASCII alone: percent-encode the rest")
        _ = parts.port  # raises ValueError when it is no port
        if schemes[0] == "https" and (parts.query or parts.fragment):
            raise ValueError("must have no query and no fragment")
        if schemes[0] == "https" and "@" in parts.netloc:
            # It would be shown wherever the upstream's name is, and be sent to nobody.
            raise ValueError("must hold no user or password: a key goes into WATCHLLM_UPSTREAM_API_KEY")
        return raw.rstrip("/")

    return parse


def postgres_url(raw: str) -> str:
    """A server by name, or by the directory of its socket: postgresql://user@/database?host=/directory."""
    parts = urllib.parse.urlsplit(raw)
    if parts.scheme in {"postgresql", "postgres"} and "host" in urllib.parse.parse_qs(parts.query):
        return raw
    return url("postgresql", "postgres")(raw)


def secret(raw: str) -> str:
    if len(raw.strip()) < MIN_SECRET_CHARACTERS or not raw.isprintable():
        raise ValueError(
            f"must be a random secret of at least {MIN_SECRET_CHARACTERS} characters (`openssl rand -base64 32` "
            "makes one)"
        )
    return raw


def secrets(raw: str) -> tuple[str, ...]:
    found = tuple(each.strip() for each in raw.split(",") if each.strip())
    if not found or any(len(each) < MIN_SECRET_CHARACTERS for each in found):
        raise ValueError(
            f"must be a random secret of at least {MIN_SECRET_CHARACTERS} characters (`openssl rand -base64 32` "
            "makes one), or several with commas between them, the newest first"
        )
    return found
