"""Base64 in what a page shows: taken out, told by what it is and how large, and had at an address of its own.

Looked for in JSON as it is written, so at any depth and in JSON inside of strings alike: base64 holds nothing that
JSON escapes. In the place of each stands a label, `⟨image/png, 3.0 MB, …⟩`, that ends in a hash of the text: where
two labels are equal the files are, and a captured label is no more than a name of a file of the same call.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from uuid import UUID

from watchllm_proxy.console import formats
from watchllm_proxy.console.answers import Problem

UNKNOWN: Final = "application/octet-stream"
PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"})
"""Types that a page shows: what holds no script, and nothing but pixels."""

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
DIGEST_BYTES: Final = 16

_MIN_BARE = 1000
"""Characters of base64 that nothing names as such: what is shorter may be a word, a hash or an id."""

_IN_URL = re.compile(rb";base64,([A-Za-z0-9+/_-]{64,}={0,2})")
_URL_HEAD = re.compile(rb"data:(?:([\w.+-]{1,60}/[\w.+-]{1,100})(?:;[\w.+=%-]{1,60}){0,4})?\Z")
_MAX_HEAD = 500
_BARE = re.compile(rb'"([A-Za-z0-9+/_-]{64,}={0,2})(?=\\*"(?!:))')
"""A whole string, however deep in strings, that is no name of a field."""

_TO_STANDARD: Final = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True, slots=True)
class File:
    """`digest`: of the text that it was written as. `media_type`: as its first bytes say, whatever was claimed."""

    digest: str
    media_type: str
    size_bytes: int

    @property
    def is_picture(self) -> bool:
        return self.media_type in PICTURES

    @property
    def sent_as(self) -> str:
        """Never a type that was only claimed: a page of somebody's making would be one from here."""
        return self.media_type if self.media_type in _ENDINGS else UNKNOWN

    @property
    def name(self) -> str:
        return self.digest + _ENDINGS.get(self.media_type, ".bin")

    @property
    def label(self) -> str:
        kind = "base64" if self.media_type == UNKNOWN else self.media_type
        return f"⟨{kind}, {formats.size(self.size_bytes)}, {self.digest}⟩"


@dataclass(frozen=True, slots=True)
class Apart:
    """A JSON document, or a text, with labels for its files; and these by their labels."""

    document: bytes
    files: Mapping[str, File]


def set_apart(document: bytes) -> Apart:
    """The same document where it holds no file."""
    pieces: list[bytes] = []
    files: dict[str, File] = {}
    end = 0
    for found in _found(document):
        file = _file(document[found.start : found.end], found.claimed)
        if file is None:
            continue
        files[file.label] = file
        pieces += (document[end : found.from_], file.label.encode())
        end = found.end
    return Apart(b"".join((*pieces, document[end:])) if pieces else document, files)


def file_of(document: bytes, digest: str) -> tuple[File, bytes] | None:
    """The file with its bytes; None: it is not in there. Raises `Problem` for one that is too large."""
    for found in _found(document):
        text = document[found.start : found.end]
        file = _file(text, found.claimed) if _digest(text) == digest else None
        if file is not None:
            return file, _decoded(_not_too_large(file, text))
    return None


def _not_too_large(file: File, text: bytes) -> bytes:
    if file.size_bytes > MAX_FILE_BYTES:
        limit, size = formats.size(MAX_FILE_BYTES), formats.size(file.size_bytes)
        message = f"This file has {size}, and at most {limit} are sent from here. The call's JSON has all of it."
        raise Problem(409, "file_too_large", message)
    return text


class FilesApart:
    """Documents of calls are put through `take`; what it took is told by label, as a page needs it to show it."""

    def __init__(self) -> None:
        self._taken: dict[str, tuple[UUID, File]] = {}

    def take(self, call_id: UUID, document: bytes) -> bytes:
        apart = set_apart(document)
        for label, file in apart.files.items():
            self._taken.setdefault(label, (call_id, file))
        return apart.document

    def references(self) -> dict[str, dict[str, object]]:
        return {
            label: {
                "address": f"/api/calls/{call_id}/files/{file.digest}",
                "media_type": file.media_type,
                "size_bytes": file.size_bytes,
                "is_picture": file.is_picture,
            }
            for label, (call_id, file) in self._taken.items()
        }


class FileSearch:
    """Documents of a call are put through `look`, as they are, until the file is found."""

    def __init__(self, digest: str) -> None:
        self._digest = digest
        self.found: tuple[File, bytes] | None = None

    def look(self, _: UUID, document: bytes) -> bytes:
        self.found = self.found or file_of(document, self._digest)
        return document


# --- where they are -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    """Base64 from `start` to `end`; with the beginning of its address, if it has one, from `from_`."""

    from_: int
    start: int
    end: int
    claimed: str | None = None


def _found(document: bytes) -> Iterator[_Found]:
    """In order. No two overlap: an address has a comma before its base64, which no bare string holds."""
    return iter(sorted([*_in_urls(document), *_bare(document)], key=lambda each: each.from_))


def _in_urls(document: bytes) -> Iterator[_Found]:
    for match in _IN_URL.finditer(document):
        at = match.start()
        head = _URL_HEAD.search(document, max(0, at - _MAX_HEAD), at)
        if head is not None:
            claimed = head[1].decode().lower() if head[1] else None
            yield _Found(head.start(), *match.span(1), claimed)


def _bare(document: bytes) -> Iterator[_Found]:
    for match in _BARE.finditer(document):
        start, end = match.span(1)
        text = document[start : min(end, start + _MIN_BARE)]
        if _type_of(text) in PICTURES or (end - start >= _MIN_BARE and _is_mixed(text)):
            yield _Found(start, start, end)


def _is_mixed(text: bytes) -> bool:
    """A long word, a genome or a number in hexadecimal is text to read."""
    return all(re.search(kind, text) for kind in (rb"[a-z]", rb"[A-Z]", rb"[0-9]"))


# --- what they are --------------------------------------------------------------------------------------

_BEGINNINGS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"PK\x03\x04", "application/zip"),
)
_ENDINGS: Final = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/avif": ".avif",
    "application/pdf": ".pdf",
    "application/zip": ".zip",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/flac": ".flac",
    "audio/wav": ".wav",
}
_PROBED = 48
"""Characters that tell the type."""


def _file(text: bytes, claimed: str | None) -> File | None:
    """None: it cannot be decoded, so it is text after all."""
    characters = len(text.rstrip(b"="))
    if characters % 4 == 1:
        return None
    return File(_digest(text), _type_of(text) or _claimed(claimed), characters * 3 // 4)


def _claimed(media_type: str | None) -> str:
    """What does not begin as a picture is none, whatever it says of itself."""
    return UNKNOWN if media_type is None or media_type in PICTURES else media_type


def _type_of(text: bytes) -> str | None:
    """By its first bytes."""
    head = _decoded(text[:_PROBED])
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(head[8:12])
    if head[4:8] == b"ftyp":
        return "image/avif" if head[8:12] in {b"avif", b"avis"} else None
    return next((media_type for beginning, media_type in _BEGINNINGS if head.startswith(beginning)), None)


def _digest(text: bytes) -> str:
    return blake2b(text, digest_size=DIGEST_BYTES).hexdigest()


def _decoded(text: bytes) -> bytes:
    """Of either alphabet, padded or not; of a beginning that breaks off, as much as is whole."""
    whole = text.rstrip(b"=").translate(_TO_STANDARD)
    if len(whole) % 4 == 1:
        whole = whole[:-1]
    return b64decode(whole + b"=" * (-len(whole) % 4))
