"""Passwords: only the right one is right, and an unknown name takes the same way as a known one."""

from __future__ import annotations

import pytest

from watchllm_proxy import passwords
from watchllm_proxy.passwords import PasswordCheck

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def password_hash() -> str:
    return passwords.hashed(PASSWORD)


def test_a_hash_is_argon2id_salted_and_not_the_password(password_hash: str) -> None:
    assert password_hash.startswith("$argon2id$")
    assert PASSWORD not in password_hash
    assert passwords.hashed(PASSWORD) != password_hash


@pytest.mark.parametrize(
    ("given", "is_right"), [(PASSWORD, True), (PASSWORD + " ", False), ("", False), ("\0", False)]
)
async def test_only_the_right_password_is_right(password_hash: str, given: str, is_right: bool) -> None:
    assert await PasswordCheck().is_right(password_hash, given) is is_right


async def test_nobody_has_a_password_and_it_is_compared_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    right = passwords.is_right
    monkeypatch.setattr(passwords, "is_right", lambda of, given: compared.append(given) or right(of, given))
    assert not await PasswordCheck().is_right(None, "\0")
    assert compared == ["\0"]


async def test_what_is_no_password_is_not_even_compared(password_hash: str) -> None:
    assert not await PasswordCheck().is_right(password_hash, "x" * 1_001)


@pytest.mark.parametrize("damaged", ["", "plain", "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$"])
def test_a_damaged_hash_lets_nobody_in(damaged: str) -> None:
    assert not passwords.is_right(damaged, PASSWORD)


@pytest.mark.parametrize("given", ["", "short", "x" * 11, "x" * 1_001])
def test_what_is_too_short_or_too_long_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="12 to 1000"):
        passwords.hashed(given)
