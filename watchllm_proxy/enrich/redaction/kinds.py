"""What is told apart, and what counts as a secret."""

from __future__ import annotations

from enum import StrEnum


class RedactionKind(StrEnum):
    """What stood there. The value is the word in the tag; letters only, so that no rule reads into a tag."""

    API_KEY = "apikey"  # a key or token of a provider, by its form
    PRIVATE_KEY = "privatekey"
    JWT = "jwt"
    PASSWORD = "password"  # in a URL, beside its name, or in a field of that name  # noqa: S105 - a word
    EMAIL = "email"
    PHONE = "phone"
    CARD = "card"
    IBAN = "iban"
    NATIONAL_ID = "nationalid"  # identity, tax and insurance numbers of persons and firms
    IP_ADDRESS = "ip"
    CUSTOM = "custom"  # rules of the project's own: `own_kind` adds the name of the rule
    DROPPED = "dropped"  # more was found than may be looked at: the rest of the text is gone


SECRETS = frozenset({RedactionKind.API_KEY, RedactionKind.PRIVATE_KEY, RedactionKind.JWT, RedactionKind.PASSWORD})


def own_kind(name: str) -> str:
    """The kind of what a project's own rule of that name finds."""
    return f"{RedactionKind.CUSTOM}.{name}"


class RedactionMode(StrEnum):
    """What a project wants redacted before anything of it is stored."""

    OFF = "off"
    SECRETS = "secrets"  # credentials only
    ALL = "all"  # credentials and personal data
