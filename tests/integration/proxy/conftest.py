"""A proxy between a raw upstream and raw clients, on both event loops it may run on."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop
from blockbuster import blockbuster_ctx

from tests.fixtures.list_log import ListLog
from tests.fixtures.raw_upstream import RawClient, RawUpstream, Script
from watchllm_proxy.grants import Grants, KeyGrant, ProjectTerms
from watchllm_proxy.proxy.auth import KeyRing, digest
from watchllm_proxy.proxy.server import ProxyServer
from watchllm_proxy.records import Exchange
from watchllm_proxy.sealing import Vault
from watchllm_proxy.settings import load


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> Iterator[None]:
    """A blocking call of the proxy's own code on the loop's thread is an error."""
    with blockbuster_ctx("watchllm_proxy.proxy"):
        yield


class Rig:
    """The proxy under test, its upstream, and what it captured."""

    def __init__(self, server: ProxyServer, upstream: RawUpstream, log: ListLog) -> None:
        self.server = server
        self.upstream = upstream
        self.log = log

    def client(self) -> contextlib.AbstractAsyncContextManager[RawClient]:
        return RawClient.connect(self.server.port)

    async def captured(self, count: int = 1) -> list[Exchange]:
        """The captures, once there are `count`."""
        await until(lambda: len(self.log.exchanges) >= count)
        assert len(self.log.exchanges) == count
        return self.log.exchanges

    async def until_upstream_left(self, limit_s: float = 5.0) -> None:
        """Every upstream connection is closed within `limit_s`."""
        await until(lambda: self.upstream.open_connections == 0, limit_s)


async def until(condition: Callable[[], bool], limit_s: float = 5.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, f"did not come true within {limit_s} s"
        await asyncio.sleep(0.005)


KEY = b"lgw_proj_" + b"k" * 32
OTHER_KEY = b"lgw_proj_" + b"o" * 32
SECRET_KEY = "s" * 44
KEYS = Grants(
    {digest(KEY): KeyGrant("shop", "key-of-shop"), digest(OTHER_KEY): KeyGrant("other", "key-of-other")},
    {"shop": ProjectTerms("shop", Vault([SECRET_KEY]).seal("shop", "sk-provider-of-shop"))},
)

Build = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def build(tmp_path: Path) -> AsyncIterator[Build]:
    """`await build(script, **settings)`: a running rig. Keyword arguments override settings by field name."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(
            script: Script,
            *,
            tls_upstream: ssl.SSLContext | None = None,
            tls: ssl.SSLContext | None = None,
            upstream_url: str | None = None,
            console_socket: Path | None = None,
            reads_bodies: bool = True,
            grants: Grants = KEYS,
            **settings: Any,
        ) -> Rig:
            upstream = RawUpstream(script, reads_bodies=reads_bodies)
            await upstream.start(tls=tls_upstream)
            stack.push_async_callback(upstream.stop)
            scheme = "http" if tls_upstream is None else "https"
            url = upstream_url or f"{scheme}://127.0.0.1:{upstream.port}/api/v1"
            values = {
                "allow_anonymous": True,
                "port": 0,
                "data_dir": tmp_path,
                "secret_keys": (SECRET_KEY,),
            } | settings
            log = ListLog()
            server = ProxyServer(
                load({}, upstream_url=url, **values),
                log=log,
                keys=KeyRing(grants),
                console_socket=console_socket,
                tls=tls,
            )
            await server.start()
            stack.push_async_callback(server.stop)
            return Rig(server, upstream, log)

        yield start
