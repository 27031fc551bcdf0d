"""The placeholder that stands for a value: its kind, and a keyed hash that is the same for equal values.

`[email_7kdfjwqmzxbt]` is the same address wherever it occurs in a project, and nobody without the key can try
whether it is a certain one. Its digit and its length make it a word that `sessionize.names` takes for volatile, as
it does the ids and numbers that it may stand for; consonants make no words, and one digit no number.
"""

from __future__ import annotations

from hashlib import blake2b

from watchllm_proxy.enrich.redaction.kinds import RedactionKind
from watchllm_proxy.enrich.redaction.rules import compiled

KEY_BYTES = 32
_CONSONANTS = "bcdfghjkmnpqrstvwxyz"
_LETTERS = 11

TAG = compiled(rf"(\[(?:{'|'.join(RedactionKind)})(?:\.[a-z]+)?_[0-9][{_CONSONANTS}]{{{_LETTERS}}}\])")
"""A tag in a text: it is never looked into."""


class Tags:
    """Those of one project."""

    def __init__(self, key: bytes, project_id: str) -> None:
        """`key` is the installation's secret, of `KEY_BYTES`; each project has its own of it."""
        self._key = blake2b(project_id.encode("utf-8", "replace"), key=key, digest_size=32).digest()

    def tag(self, kind: str, canonical: bytes) -> bytes:
        general = kind.partition(".")[0].encode()
        digest = blake2b(canonical, key=self._key, digest_size=16, person=general).digest()
        number = int.from_bytes(digest)
        number, digit = divmod(number, 10)
        letters = []
        for _ in range(_LETTERS):
            number, letter = divmod(number, len(_CONSONANTS))
            letters.append(_CONSONANTS[letter])
        return f"[{kind}_{digit}{''.join(letters)}]".encode()

    def keyed(self, digest: bytes) -> bytes:
        """A hash of content as it was, so that it tells equal from different and lets nobody guess the content."""
        return blake2b(digest, key=self._key, digest_size=16, person=b"content").digest()
