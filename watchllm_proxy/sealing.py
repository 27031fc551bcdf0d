"""Provider keys at rest: sealed by AES-256-GCM with a key that is made of `WATCHLLM_SECRET_KEY`.

A sealed value is text: `1.<which secret>.<nonce and ciphertext>`. It is bound to its project, so that a row that
was copied to another one does not open. Several secrets may be set: the first seals, all open, so that a secret
can be changed without a moment at which a provider key cannot be read.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from watchllm_proxy.grants import ProjectTerms

if TYPE_CHECKING:  # a worker that has no secret starts without the library
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = "1"
UNSET = (
    "WATCHLLM_SECRET_KEY is not set, and without it no provider key can be sealed. "
    "`openssl rand -base64 32` makes one; the proxies and the console need the same."
)
NONCE_BYTES = 12
MARK_BYTES = 6
MAX_PROVIDER_KEY_CHARACTERS = 4096


class Vault:
    """Seals and opens values with the secrets given, of which there may be none: then it can do neither."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        self._by_mark: dict[str, AESGCM] = dict(_cipher(secret) for secret in secret_keys)
        self._first = next(iter(self._by_mark), None)

    def __bool__(self) -> bool:
        return self._first is not None

    def seal(self, project_id: str, value: str) -> str:
        """Raises ValueError where there is no secret."""
        if self._first is None:
            raise ValueError(UNSET)
        nonce = secrets.token_bytes(NONCE_BYTES)
        ciphertext = self._by_mark[self._first].encrypt(nonce, value.encode(), _bound_to(project_id))
        return f"{VERSION}.{self._first}.{_text(nonce + ciphertext)}"

    def open(self, project_id: str, sealed: str) -> str:
        """Raises ValueError for what was sealed with another secret, for another project, or is not sealed."""
        version, mark, body = ([*sealed.split("."), "", ""])[:3]
        cipher = self._by_mark.get(mark)
        if version != VERSION or cipher is None:
            raise ValueError("it was sealed with a secret that is not set here")
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415

        raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        try:
            opened = cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _bound_to(project_id))
        except InvalidTag:
            raise ValueError("it was changed, or sealed for another project") from None
        return opened.decode()

    def is_of_first(self, sealed: str) -> bool:
        """Whether the secret that seals today sealed it."""
        return sealed.startswith(f"{VERSION}.{self._first}.")

    def provider_key(self, terms: ProjectTerms) -> bytes | None:
        """The project's own, opened; None: it has none. Raises ValueError as `open` does."""
        if terms.sealed_provider_key is None:
            return None
        return self.open(terms.project_id, terms.sealed_provider_key).encode()


def is_provider_key(text: str) -> bool:
    """Whether `text` can stand in a header as a credential: one word of printable ASCII."""
    return (
        0 < len(text) <= MAX_PROVIDER_KEY_CHARACTERS and text.isascii() and text.isprintable() and " " not in text
    )


def _cipher(secret: str) -> tuple[str, AESGCM]:
    """A mark by which the secret is told from others, and the cipher; neither tells the other."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    derivation = HKDF(hashes.SHA256(), MARK_BYTES + 32, salt=None, info=b"watchllm provider keys")
    made = derivation.derive(secret.encode())
    return _text(made[:MARK_BYTES]), AESGCM(made[MARK_BYTES:])


def _bound_to(project_id: str) -> bytes:
    return b"provider key of " + project_id.encode()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
