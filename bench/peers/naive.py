"""The proxy that anyone would write first: aiohttp on both sides, headers as a dict, the answer streamed.

python -m bench.peers.naive PORT UPSTREAM_PORT
"""

from __future__ import annotations

import sys

import uvloop
from aiohttp import ClientSession, web

SESSION = web.AppKey("session", ClientSession)


async def forward(request: web.Request) -> web.StreamResponse:
    url = f"http://127.0.0.1:{sys.argv[2]}{request.path_qs}"
    headers = dict(request.headers)
    body = await request.read()
    async with request.app[SESSION].request(request.method, url, headers=headers, data=body) as answer:
        kept = {name: value for name, value in answer.headers.items() if name.lower() != "transfer-encoding"}
        response = web.StreamResponse(status=answer.status, headers=kept)
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


async def serve() -> web.Application:
    app = web.Application()
    app[SESSION] = ClientSession(auto_decompress=False)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


if __name__ == "__main__":
    web.run_app(serve(), host="127.0.0.1", port=int(sys.argv[1]), loop=uvloop.new_event_loop(), print=None)
