"""JSON stays JSON, and keeps its spelling where nothing was found."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import canaries
from watchllm_proxy.enrich.redaction.documents import redact_json, redact_string
from watchllm_proxy.enrich.redaction.finding import RULES, Redaction
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.enrich.redaction.tags import Tags


def redaction() -> Redaction:
    return Redaction(RULES[RedactionMode.ALL], Tags(bytes(range(32)), "default"))


def redact(text: str) -> str:
    return redact_string(text, redaction())


def test_arguments_of_a_tool_call_stay_valid_and_keep_their_spelling() -> None:
    text = '{ "to" : "bob@example.com",  "n":1.50, "card": 4111111111111111, "ok":true }'
    redacted = redact(text)
    assert redacted.startswith('{ "to" : "[email_')
    assert '"n":1.50' in redacted
    assert '"ok":true }' in redacted
    assert json.loads(redacted)["card"].startswith("[card_")


def test_a_value_that_is_escaped_or_nested_is_found() -> None:
    inner = json.dumps({"note": f"a\n{canaries.TEXT}", "password": "short but secret"})
    text = json.dumps({"reply": inner, "mail": "bob\\u0040example.com"}).replace("\\\\u0040", "\\u0040")
    redacted = json.loads(redact(text))
    assert canaries.found_in([json.dumps(redacted)]) == set()
    assert json.loads(redacted["reply"])["password"].startswith("[password_")
    assert redacted["mail"].startswith("[email_")


def test_keys_of_an_object_are_redacted_too() -> None:
    assert next(iter(json.loads(redact('{"bob@example.com": 1}')))).startswith("[email_")


def test_what_is_not_changed_is_the_same_object() -> None:
    value = {"text": "hello", "list": [1, 2.5, None, True], "inner": {"a": "b"}}
    assert redact_json(value, redaction()) is value


def test_an_inline_image_is_not_looked_into() -> None:
    url = "data:image/png;base64,AKIACANARYQ7VJT3XWZB"
    assert redact(url) == url


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**18), 10**18), st.floats(allow_nan=False),
              st.text(max_size=20), st.sampled_from(canaries.ALL)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)  # fmt: skip


@given(JSON, st.sampled_from([None, 1, 2]))
def test_any_document_stays_one_and_redacting_it_twice_is_redacting_it_once(
    value: object, indent: int | None
) -> None:
    text = json.dumps(value, indent=indent)
    once = redact(text)
    json.loads(once)
    assert redact(once) == once
    assert not canaries.found_in([once]) & set(canaries.KEYS.values())


@pytest.mark.parametrize("text", ["[INFO] not json bob@example.com", '{"cut": "bob@example.com', '"'])
def test_text_that_only_begins_like_json_is_redacted_as_text(text: str) -> None:
    assert "bob@" not in redact(text)


@given(JSON)
def test_redacting_a_value_gives_what_can_be_written(value: object) -> None:
    made = orjson.loads(orjson.dumps(value))
    orjson.dumps(redact_json(made, redaction()))
