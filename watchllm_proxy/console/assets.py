"""Static files of the dashboard, read once, served from memory under an address that changes with their content.

The whole tree shares one hash (`/static/<hash>/run.js`): modules then import each other by plain relative
names, and a page never mixes files of two versions.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

_DIRECTORY = Path(__file__).with_name("static")
_CONTENT_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_IMMUTABLE = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    content: bytes
    compressed: bytes
    content_type: str
    etag: str


class Assets:
    """All files of a directory by name."""

    def __init__(self, directory: Path) -> None:
        self._by_name = {path.name: _load(path) for path in sorted(directory.iterdir()) if path.is_file()}
        digest = hashlib.sha256()
        for name, asset in self._by_name.items():
            digest.update(f"{name}\0{asset.etag}\0".encode())
        self.version = digest.hexdigest()[:16]

    def path_of(self, name: str) -> str:
        """The address of a file. Raises KeyError for one that is not there: a template's typing error."""
        if name not in self._by_name:
            raise KeyError(name)
        return f"/static/{self.version}/{name}"

    def find(self, version: str, name: str) -> Asset | None:
        return self._by_name.get(name) if version == self.version else None


def _load(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(
        content=content,
        compressed=gzip.compress(content, compresslevel=9, mtime=0),
        content_type=_CONTENT_TYPES[path.suffix],
        etag=hashlib.sha256(content).hexdigest()[:32],
    )


ASSETS: Final = Assets(_DIRECTORY)


async def static_file(request: web.Request) -> web.Response:
    asset = ASSETS.find(request.match_info["version"], request.match_info["name"])
    if asset is None:
        raise web.HTTPNotFound
    accepts_gzip = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
    known = request.if_none_match or ()
    if any(tag.value == asset.etag for tag in known):
        response = web.Response(status=304)
    else:
        body = asset.compressed if accepts_gzip else asset.content
        response = web.Response(body=body, content_type=asset.content_type, charset="utf-8")
        if accepts_gzip:
            response.headers[hdrs.CONTENT_ENCODING] = "gzip"
    response.etag = asset.etag
    response.headers[hdrs.CACHE_CONTROL] = _IMMUTABLE
    response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
    return response
