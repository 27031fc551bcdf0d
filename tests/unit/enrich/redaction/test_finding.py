"""What is found in a text, what is not, and that looking again changes nothing."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import canaries
from watchllm_proxy.enrich.redaction import credentials
from watchllm_proxy.enrich.redaction.finding import DROPPED, RULES, Redaction
from watchllm_proxy.enrich.redaction.kinds import SECRETS, RedactionKind, RedactionMode
from watchllm_proxy.enrich.redaction.rules import MAX_PLACES
from watchllm_proxy.enrich.redaction.tags import Tags

TAGS = Tags(bytes(range(32)), "default")
_TAG = re.compile(r"\[([a-z]+)_[0-9][a-z]{11}\]")


def redact(text: str, context: str = "", mode: RedactionMode = RedactionMode.ALL) -> str:
    return Redaction(RULES[mode], TAGS).text(text.encode(), context.encode()).decode()


def shown(text: str, context: str = "") -> str:
    """With the tags' kinds only."""
    return _TAG.sub(r"<\1>", redact(text, context))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to bob@example.com.", "write to <email>."),
        ("'O.Brien+x@mail.example.co.uk'", "'<email>'"),
        ("a müller@bücher.example b", "a <email> b"),
        (r"line\nbob@example.com", r"line\n<email>"),
        ("to=bob%40example.com&x", "to=<email>&x"),
        ("image@2x.png, @types/node, user@localhost", "image@2x.png, @types/node, user@localhost"),
        ("4111 1111 1111 1111", "<card>"),
        ("4111-1111-1111-1111, 378282246310005", "<card>, <card>"),
        ("4111 1111 1111 1112", "4111 1111 1111 1112"),
        ("at 1732281234567 ms", "at 1732281234567 ms"),
        ("DE89 3704 0044 0532 0130 00 BIC X", "<iban> BIC X"),
        ("DE89 3704 0044 0532 0130 01", "DE89 3704 0044 0532 0130 01"),
        ("from 203.0.113.77:8080", "from <ip>:8080"),
        ("Chrome/120.0.0.0 v1.2.3.4 pkg==1.2.3.4", "Chrome/120.0.0.0 v1.2.3.4 pkg==1.2.3.4"),
        ("2001:db8::8a2e:370:7334 up", "<ip> up"),
        ("std::add a::b 12:34:56 999.1.1.1", "std::add a::b 12:34:56 999.1.1.1"),
        ("+49 30 901820", "<phone>"),
        ("(212) 555-2368 or 212-555-2368", "<phone> or <phone>"),
        ("Tel. 510 070 901", "Tel. <phone>"),
        ("10 000 000 in 2024-11-22 12:30:45, id 5551234567", "10 000 000 in 2024-11-22 12:30:45, id 5551234567"),
        ("SSN 536904399, 536-90-4399", "SSN <nationalid>, <nationalid>"),
        ("order 536904399", "order 536904399"),
        ("12345678Z, 131052-308T", "<nationalid>, <nationalid>"),
        ("PESEL-20463349037", "PESEL-20463349037"),
        ("Authorization: Bearer abcDEF123456ghiJKL", "Authorization: Bearer <apikey>"),
        ("the bearer authentication is basic here", "the bearer authentication is basic here"),
        ("postgres://u:s3cret!@h/db", "postgres://u:<password>@h/db"),
        ("password=hunter22;", "password=<password>;"),
        ("password = get_password()", "password = get_password()"),
        ("api_key=settings.api_key", "api_key=settings.api_key"),
        ("risk-averse sk-learn task-assessment-of-words", "risk-averse sk-learn task-assessment-of-words"),
        (r"\nsk-proj-abcdefghij0123456789", r"\n<apikey>"),
    ],
)  # fmt: skip
def test_values_are_told_from_what_looks_like_them(text: str, expected: str) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize(("name", "key"), canaries.KEYS.items())
@pytest.mark.parametrize(
    "around", ["{}", "key {}.", '"{}"', r"\n{}\n", "?key={}&x=1", "Bearer {}", "x\n{}\ny", "({})"]
)
def test_keys_of_providers_are_found_wherever_they_stand(name: str, key: str, around: str) -> None:
    assert key not in redact(around.format(key), mode=RedactionMode.SECRETS), name


def test_a_long_key_behind_an_escaped_line_break_is_no_part_of_an_image() -> None:
    key = "EAA" + "0aB" * 100
    for around in (r"\n{}\n", r"\u000a{}", "%0A{}", " {} "):
        assert key not in redact(around.format(key), mode=RedactionMode.SECRETS)


@pytest.mark.parametrize("form", credentials._KEYS, ids=lambda form: form[:16])
@settings(max_examples=10)
@given(data=st.data())
def test_a_key_of_every_form_goes_whatever_it_is_made_of(form: str, data: st.DataObject) -> None:
    """In prose, in a line of a shell, and in JSON that was escaped once more."""
    key = data.draw(st.from_regex(re.compile(form, re.ASCII), fullmatch=True))
    for text in (f"use {key} here", f"export KEY={key}\n", json.dumps(json.dumps({"note": f"\n{key}\n"}))):
        assert key not in redact(text, mode=RedactionMode.SECRETS), text


@pytest.mark.parametrize(
    "key", ["-----BEGIN PRIVATE KEY-----\nMIIB{}\n-----END PRIVATE KEY-----",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl{}",
            r"-----BEGIN RSA PRIVATE KEY-----\nMIIE{}\n-----END RSA PRIVATE KEY-----"],
)  # fmt: skip
def test_a_private_key_goes_whole_also_when_it_is_cut(key: str) -> None:
    text = redact("a " + key.format("Ab1/+" * 300))
    assert "Ab1" not in text
    assert text.startswith("a [privatekey_")


def test_the_name_of_a_field_tells_what_stands_in_it() -> None:
    assert shown("correct horse battery", "password") == "<password>"
    assert shown("5551234567", "phone_number") == "<phone>"
    assert shown("536904399", "ssn") == "<nationalid>"
    assert shown("string", "password") == "string", "a schema"
    assert shown("5551234567", "order_id") == "5551234567"


def test_equal_values_have_equal_tags_however_they_are_written_and_others_have_others() -> None:
    assert redact("Bob@Example.com") == redact("bob@example.com") != redact("rob@example.com")
    assert redact("4111 1111 1111 1111") == redact("4111111111111111")
    assert redact("DE89 3704 0044 0532 0130 00") == redact("DE89370400440532013000")
    other = Redaction(RULES[RedactionMode.ALL], Tags(bytes(range(32)), "other")).text(b"bob@example.com")
    assert other.decode() != redact("bob@example.com"), "tags do not link projects"


def test_secrets_only_leaves_addresses_and_off_leaves_everything() -> None:
    assert shown_kinds(redact(canaries.TEXT, mode=RedactionMode.SECRETS)) <= {str(kind) for kind in SECRETS}
    assert redact(canaries.TEXT, mode=RedactionMode.OFF) == canaries.TEXT


def shown_kinds(text: str) -> set[str]:
    return set(_TAG.findall(text))


def test_an_image_in_base64_is_left_alone() -> None:
    image = "iVBORw0KGgo" + "AKIACANARYQ7VJT3XWZB4111111111111111" * 40
    assert redact(f"data:image/png;base64,{image}") == f"data:image/png;base64,{image}"


PIECES = st.sampled_from(
    [*canaries.ALL, canaries.TEXT, " ", "\n", r"\n", "-", "x", "7", "@", ".com", "tel ", "password=", "sk-", "[",
     "]", "[email_7byhnykrvkjq]", "eyJ", "://", "-----BEGIN PRIVATE KEY-----", "é", "\x00"]
)  # fmt: skip


@given(st.lists(st.one_of(PIECES, st.text(max_size=12)), max_size=12).map("".join))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    once = redact(text)
    assert redact(once) == once


@given(st.lists(st.one_of(PIECES, st.text(max_size=12)), max_size=8).map("".join))
def test_no_canary_is_left_that_stands_apart(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    for key in canaries.KEYS.values():
        assert f"<<{key}" not in redact(f"{text} <<{key}>> {text}")


def test_what_is_beyond_the_budget_of_a_rule_is_dropped_and_said_to_be() -> None:
    redaction = Redaction(RULES[RedactionMode.ALL], TAGS)
    text = redaction.text(b"a@example.com " * (MAX_PLACES + 5) + b"the end")
    assert text.endswith(DROPPED)
    assert b"example" not in text
    assert b"the end" not in text
    assert redaction.counts[RedactionKind.EMAIL] == MAX_PLACES
    assert redaction.counts[RedactionKind.DROPPED] == 1
    assert redaction.text(text) == text


@pytest.mark.parametrize(
    "line",
    ['{"at":1732281234567,"id":731234567890123456,"ms":12}',
     "2026-11-22 14:12:50.123 GET /v1/x 200 1532ms req_8f3k2j1h",
     "1732281234.567 order 10234567 sku 4006381333931"],
)  # fmt: skip
def test_long_logs_without_values_are_left_as_they_are(line: str) -> None:
    text = f"{line}\n" * (MAX_PLACES + 4_000)
    assert redact(text) == text
