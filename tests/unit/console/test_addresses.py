from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from watchllm_proxy.console.addresses import SUFFIXES, decode_id, encode_id, run_json_path, run_path

ODD = [
    "a/b",
    "a?b",
    "a#b",
    "100%",
    "%2F",
    "ü λ 中",
    '"quoted"',
    "it's",
    ".",
    "..",
    "...",
    "a.json",
    ".json",
    "a b",
    "a+b",
    "\\",
    "//",
    "~",
]


@pytest.mark.parametrize("run_id", ODD)
def test_an_odd_id_reads_back_from_its_path(run_id: str) -> None:
    segment = URL(f"http://localhost{run_path(run_id)}", encoded=True).raw_path.removeprefix("/runs/")
    assert "/" not in segment
    assert decode_id(unquote(segment)) == run_id


@given(st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=200))
def test_every_printable_id_reads_back(run_id: str) -> None:
    assert decode_id(unquote(encode_id(run_id))) == run_id


@given(st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=50))
def test_no_two_ids_share_a_page_or_a_form_of_it(run_id: str) -> None:
    assert run_json_path(run_id) != run_path(run_id + ".json")
    for suffix in SUFFIXES:
        assert run_path(run_id) + suffix != run_path(run_id + suffix)


@pytest.mark.parametrize("run_id", [".", ".."])
def test_a_browser_cannot_take_an_id_for_a_step_up(run_id: str) -> None:
    assert encode_id(run_id) not in {".", "..", "%2E", "%2E%2E"}
