"""Numbers of papers go beside a word that names them, as they are written in several countries."""

from __future__ import annotations

import pytest

from watchllm_proxy.enrich.redaction.documents import redact_string
from watchllm_proxy.enrich.redaction.finding import RULES, Redaction
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.enrich.redaction.tags import TAG, Tags

TAGS = Tags(bytes(range(32)), "default")


def redact(text: str) -> str:
    return redact_string(text, Redaction(RULES[RedactionMode.ALL], TAGS))


def shown(text: str) -> str:
    return TAG.sub(rb"<>", redact(text).encode()).decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("My passport number is CD7654321 and it expires soon", "My passport number is <> and it expires soon"),
        ("numer paszportu | JD6 088097 | sprawdzono", "numer paszportu | <> | sprawdzono"),
        ("dowodem osobistym nr ABK323\n847.\n\n1. WARUNKI", "dowodem osobistym nr <>.\n\n1. WARUNKI"),
        ("numer dowodu osobistego: PXH758102.\n04 | rejestr", "numer dowodu osobistego: <>.\n04 | rejestr"),
        ("NASS: 14-63504522-08.", "NASS: <>."),
        ("NºCol: 28 28 20943.", "NºCol: <>."),
        ("Medicare ID: 3CD5-FG7-HJ89", "Medicare ID: <>"),
        ("Krankenkasse KVNR: A123456780", "Krankenkasse KVNR: <>"),
        ("Licence: none. Driving licence: MORGA607054SM9IJ ok", "Licence: none. Driving licence: <> ok"),
        ('{"passport_number": "C3590543", "page": "C3590543"}', '{"passport_number": "<>", "page": "C3590543"}'),
    ],
)
def test_a_number_beside_its_name_goes_and_what_is_around_it_stays(text: str, expected: str) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "C3590543 is the build",
        "passport: 2 photos, 35 x 45 mm",
        "Her passport, 22.11.2026 in Oslo",
        "passport 2026-11-22 14:12:50",
        "passportize 12345678",
        "tins of 123456 beans",
        "the licence costs 120000",
    ],
)
def test_what_only_looks_like_one_stays(text: str) -> None:
    assert redact(text) == text


def test_a_number_is_the_same_however_it_is_grouped() -> None:
    tag = redact("paszport: HX6 088035").partition(": ")[2]
    assert redact("numer paszportu: hx6-088035").partition(": ")[2] == tag
