"""CONDUCTOR of price lists: a list as OpenRouter's /models has it, from a file or an address, into the store."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

import asyncpg
import orjson
import structlog

from watchllm_proxy.enrich.price_lists import read_openrouter_models, written_prices
from watchllm_proxy.errors import StoreError, WatchLLMError
from watchllm_proxy.lifecycle import rest
from watchllm_proxy.pricing import OPENROUTER
from watchllm_proxy.settings import Settings
from watchllm_proxy.store import prices

log = structlog.get_logger(__name__)

MAX_LIST_BYTES = 64 * 1024 * 1024
TIMEOUT_S = 30.0
RETRY_S = 600.0


class PriceListUnusable(WatchLLMError):
    """No list came from there, or it is none. Nothing was changed."""


async def update(pool: asyncpg.Pool, source: str) -> int:
    """Take a file's or an address's list in place of the one before; of how many models it tells the prices.

    No key is sent along. Raises `PriceListUnusable`, and `StoreUnavailable`.
    """
    document = await asyncio.to_thread(_read, source)
    try:
        found = read_openrouter_models(orjson.loads(document))
    except ValueError as exc:
        raise PriceListUnusable(f"{_named(source)}: {exc}") from exc
    models = {model: written_prices(each) for model, each in found.items()}
    await prices.save_list(pool, OPENROUTER, models, _named(source))
    return len(models)


async def keep_up_to_date(settings: Settings, pool: asyncpg.Pool, stop: asyncio.Event) -> None:
    """Fetch the upstream's list at the start and each so many hours; what fails is told, and tried again."""
    source = f"{settings.upstream_url}/models"
    while not stop.is_set():
        waiting_s = settings.price_update_hours * 3600.0
        try:
            log.info("prices.updated", models=await update(pool, source))
        except (PriceListUnusable, StoreError) as exc:
            waiting_s = min(RETRY_S, waiting_s)
            log.warning("prices.not_updated", error=str(exc))
        await rest(stop, waiting_s)


def _named(source: str) -> str:
    """As it is shown: an address without its query, where people put keys; a file by its name."""
    parts = urllib.parse.urlsplit(source)
    if parts.scheme in {"http", "https"}:
        return f"{parts.scheme}://{parts.hostname}{parts.path}"
    return Path(source).name


def _read(source: str) -> bytes:
    """Blocks."""
    is_address = urllib.parse.urlsplit(source).scheme in {"http", "https"}
    try:
        with contextlib.closing(_open(source) if is_address else Path(source).open("rb")) as file:
            document: bytes = file.read(MAX_LIST_BYTES + 1)
    except (OSError, HTTPException, ValueError) as exc:
        reason = exc.reason if isinstance(exc, urllib.error.URLError) else getattr(exc, "strerror", None) or exc
        raise PriceListUnusable(f"{_named(source)} cannot be read: {reason}") from exc
    if len(document) > MAX_LIST_BYTES:
        raise PriceListUnusable(f"{_named(source)} is larger than {MAX_LIST_BYTES // 2**20} MiB")
    return document


def _open(url: str) -> BinaryIO:
    headers = {"Accept": "application/json", "User-Agent": "watchllm"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http and https only
    answer: BinaryIO = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310 - as above
    return answer
