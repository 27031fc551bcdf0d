"""Passwords of people: hashed by argon2id with the library's parameters, compared off the loop, two at a time.

A hash takes 64 MiB and some 50 ms of CPU, which is its point. So no more than two are made at once.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loaded where somebody logs in
    import argon2

MIN_CHARACTERS = 12
MAX_CHARACTERS = 1_000
AT_ONCE = 2


def check_fit(password: str) -> None:
    """Raises ValueError for one that is too short, or so long that it is no password."""
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        raise ValueError(f"a password has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters")


def hashed(password: str) -> str:
    """With a salt of its own. Raises ValueError as `check_fit` does."""
    check_fit(password)
    return _hasher().hash(password)


def is_right(password_hash: str, password: str) -> bool:
    """Whether the hash was made of `password`; False for what is no hash, too."""
    from argon2.exceptions import InvalidHashError, VerificationError  # noqa: PLC0415

    try:
        return _hasher().verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


class PasswordCheck:
    """Compares passwords for a server. Who is not known costs the same time as who is."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(AT_ONCE)

    async def is_right(self, password_hash: str | None, password: str) -> bool:
        """`password_hash` None: there is nobody of that name."""
        if len(password) > MAX_CHARACTERS:
            return False
        async with self._room:
            found = await asyncio.to_thread(is_right, password_hash or _nobodys_hash(), password)
        return found and password_hash is not None


@cache
def _hasher() -> argon2.PasswordHasher:
    import argon2  # noqa: PLC0415

    return argon2.PasswordHasher()


@cache
def _nobodys_hash() -> str:
    """Of a password that nobody has: one NUL is shorter than any of theirs."""
    return _hasher().hash("\0")
