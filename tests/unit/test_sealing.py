"""Provider keys at rest: what was sealed opens for its project with its secret, and for nobody else."""

from __future__ import annotations

import pytest

from watchllm_proxy.grants import ProjectTerms
from watchllm_proxy.sealing import Vault

OLD, NEW = "o" * 32, "n" * 32
PROVIDER_KEY = "sk-or-v1-0123456789"


def test_what_is_sealed_opens_again_and_says_nothing() -> None:
    vault = Vault([NEW])
    sealed = vault.seal("acme", PROVIDER_KEY)
    assert PROVIDER_KEY not in sealed
    assert vault.open("acme", sealed) == PROVIDER_KEY
    assert vault.provider_key(ProjectTerms("acme", sealed)) == PROVIDER_KEY.encode()
    assert vault.seal("acme", PROVIDER_KEY) != sealed, "equal keys are not seen to be equal"


def test_a_project_without_its_own_has_none() -> None:
    assert Vault([NEW]).provider_key(ProjectTerms("acme")) is None
    assert Vault([]).provider_key(ProjectTerms("acme")) is None


def test_a_row_copied_to_another_project_does_not_open() -> None:
    vault = Vault([NEW])
    with pytest.raises(ValueError, match="another project"):
        vault.open("other", vault.seal("acme", PROVIDER_KEY))


def test_the_first_secret_seals_and_all_open() -> None:
    sealed = Vault([OLD]).seal("acme", PROVIDER_KEY)
    both = Vault([NEW, OLD])
    assert both.open("acme", sealed) == PROVIDER_KEY
    assert not both.is_of_first(sealed)
    anew = both.seal("acme", PROVIDER_KEY)
    assert both.is_of_first(anew)
    assert Vault([NEW]).open("acme", anew) == PROVIDER_KEY
    with pytest.raises(ValueError, match="not set here"):
        Vault([NEW]).open("acme", sealed)


@pytest.mark.parametrize("change", [lambda s: s[:-1], lambda s: s + "AA", lambda s: s.replace("1.", "2.", 1)])
def test_what_was_changed_does_not_open(change: object) -> None:
    vault = Vault([NEW])
    assert callable(change)
    with pytest.raises(ValueError, match=r"sealed|base64|changed"):
        vault.open("acme", change(vault.seal("acme", PROVIDER_KEY)))


@pytest.mark.parametrize("sealed", ["", "1", "1..", "plain text", "1.AAAA.!!", "ä.ö.ü"])
def test_what_was_never_sealed_does_not_open(sealed: str) -> None:
    with pytest.raises(ValueError, match=r"sealed|base64|changed"):
        Vault([NEW]).open("acme", sealed)


def test_without_a_secret_nothing_is_sealed_or_opened() -> None:
    assert not Vault([])
    with pytest.raises(ValueError, match="WATCHLLM_SECRET_KEY"):
        Vault([]).seal("acme", PROVIDER_KEY)
    with pytest.raises(ValueError, match="not set here"):
        Vault([]).open("acme", Vault([NEW]).seal("acme", PROVIDER_KEY))
