"""The secret that tags are made with: of the setting, or of a file in the data directory that is made once.

Whoever has it can try whether a tag stands for a value that they guess, and no more. Lost, it costs links: values
get other tags from then on. Several recorders of one installation must share it.
"""

from __future__ import annotations

import os
import tempfile
from hashlib import blake2b
from pathlib import Path

from watchllm_proxy.enrich.redaction.tags import KEY_BYTES
from watchllm_proxy.errors import SettingsError
from watchllm_proxy.settings import Settings

_HEX_DIGITS = 2 * KEY_BYTES


def redaction_key(settings: Settings) -> bytes:
    """Raises `SettingsError` for a file that holds no key: a new one would silently part what belongs together."""
    if settings.redaction_key is not None:
        return blake2b(settings.redaction_key.encode(), digest_size=KEY_BYTES, person=b"redaction").digest()
    path = settings.redaction_key_file
    if not path.exists():
        _make(path)
    try:
        text = path.read_text("ascii").strip()
        if len(text) == _HEX_DIGITS:
            return bytes.fromhex(text)
    except ValueError:
        pass
    raise SettingsError(
        [f"{path} holds no redaction key. Restore it, or delete it: then values get new tags from now on."]
    )


def _make(path: Path) -> None:
    """Whole or not at all, and never over one that another process made meanwhile."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, fresh = tempfile.mkstemp(prefix=path.stem, suffix=".new", dir=path.parent)  # of mode 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(os.urandom(KEY_BYTES).hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(fresh)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
