"""Base64 in documents: what is taken out of them, how it is labelled, and that its bytes come back."""

from __future__ import annotations

import json
import random
from base64 import b64encode, urlsafe_b64encode
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchllm_proxy.console import files
from watchllm_proxy.console.answers import Problem
from watchllm_proxy.console.files import FilesApart, FileSearch, file_of, set_apart

CALL = UUID(int=5)
NOISE = random.Random(17).randbytes(3000)
PNG = b"\x89PNG\r\n\x1a\n" + NOISE
TEXT = b64encode(PNG).decode()
URL = f"data:image/png;base64,{TEXT}"


def document(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def label_of(value: object) -> str:
    (label,) = set_apart(document(value)).files
    return label


HOLDERS = [
    pytest.param({"messages": [{"content": [{"type": "image_url", "image_url": {"url": URL}}]}]}, id="chat"),
    pytest.param({"input": [{"content": [{"type": "input_image", "image_url": URL}]}]}, id="responses"),
    pytest.param({"source": {"type": "base64", "media_type": "image/png", "data": TEXT}}, id="messages"),
    pytest.param({"input_audio": {"data": TEXT, "format": "wav"}}, id="audio"),
    pytest.param({"data": [{"b64_json": TEXT}]}, id="generated"),
    pytest.param({"content": json.dumps({"shots": [TEXT]})}, id="JSON in a string"),
    pytest.param({"content": json.dumps({"shot": json.dumps([URL])})}, id="JSON in JSON in a string"),
    pytest.param({"content": f"Here it is:\n![shot]({URL})\nDone."}, id="in prose"),
]


@pytest.mark.parametrize("held", HOLDERS)
def test_a_picture_is_taken_out_wherever_it_stands(held: object) -> None:
    apart = set_apart(document(held))
    (label,) = apart.files
    assert label.startswith("⟨image/png, 3.0 kB, ")
    written = json.dumps(held, ensure_ascii=False)
    for spelt in (URL, TEXT):
        written = written.replace(spelt, label)
    assert json.loads(apart.document) == json.loads(written), "nothing else is changed, and it is JSON still"


@pytest.mark.parametrize(
    "kept",
    [
        {"words": "Ab3" * 300},  # 900 characters
        {"genome": "ACGT" * 1000},
        {"number": "0f" * 1000},
        {TEXT: "a name of a field"},
        {"url": f"data:image/png;base64,{TEXT[:40]}"},
        {"url": f";base64,{TEXT}"},
        {"url": f"data:image/png;base64,{TEXT[:4001]}"},  # cannot be decoded
        {"text": f"{TEXT} and more"},
        {"hash": "5f" * 32},
        ["\\n" + "Ab3d" * 500 + " is not base64"],
        [],
    ],
)
def test_what_is_no_file_stays_as_it_is(kept: object) -> None:
    raw = document(kept)
    assert set_apart(raw).document is raw


@pytest.mark.parametrize(
    ("beginning", "claimed", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\n", "application/pdf", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/png", "image/jpeg"),
        (b"GIF89a", "image/png", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/png", "image/webp"),
        (b"\x00\x00\x00\x20ftypavif", "image/png", "image/avif"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/mp3", "audio/wav"),
        (b"%PDF-1.7", "image/png", "application/pdf"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "image/svg+xml", "image/svg+xml"),
        (b"<svg onload='alert(1)'>", "image/png", files.UNKNOWN),
        (b"<!doctype html><script>", "image/webp", files.UNKNOWN),
        (b"<!doctype html><script>", "text/html", "text/html"),
        (b"\x00\x00\x00\x20ftypisom", "image/avif", files.UNKNOWN),
    ],
)
def test_the_first_bytes_say_what_it_is_and_only_pictures_are_shown(
    beginning: bytes, claimed: str, media_type: str
) -> None:
    text = b64encode(beginning + NOISE[:60]).decode()
    (file,) = set_apart(document([f"data:{claimed};base64,{text}"])).files.values()
    assert file.media_type == media_type
    assert file.is_picture == (media_type in files.PICTURES)
    is_told = media_type in {"audio/wav", "application/pdf"} or file.is_picture
    assert file.sent_as == (media_type if is_told else files.UNKNOWN), "what is only claimed is never sent as such"


@given(content=st.binary(min_size=48, max_size=3000), is_url_safe=st.booleans(), depth=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_the_bytes_come_back_exactly(content: bytes, is_url_safe: bool, depth: int) -> None:
    text = (urlsafe_b64encode if is_url_safe else b64encode)(content).decode()
    value: object = {"image_url": {"url": f"data:application/x-odd;name=a.b;base64,{text}"}, "n": 1.5, "é": "\n⟨"}
    for _ in range(depth):
        value = {"content": json.dumps(value, ensure_ascii=False)}
    raw = document(value)
    apart = set_apart(raw)
    (label,) = apart.files
    assert text.encode() not in apart.document
    found = file_of(raw, apart.files[label].digest)
    assert found == (apart.files[label], content)
    assert apart.files[label].size_bytes == len(content)
    address = f"data:application/x-odd;name=a.b;base64,{text}".encode()
    assert apart.document.replace(label.encode(), address) == raw


@given(raw=st.binary(max_size=300), cuts=st.lists(st.integers(0, 4200), max_size=4))
@settings(max_examples=60, deadline=None)
def test_documents_of_any_bytes_are_read(raw: bytes, cuts: list[int]) -> None:
    mixed = raw + b'"' + b"".join(URL.encode()[cut:] + b'"' for cut in cuts)
    apart = set_apart(mixed)
    assert set_apart(apart.document).document == apart.document


def test_equal_files_have_one_label_and_others_another() -> None:
    other = URL[:-8] + "AAAAAAAA"
    assert label_of([URL, {"again": URL}]) == label_of({"data": TEXT})
    assert label_of([other]) != label_of([URL])


def test_a_label_leads_to_the_call_that_holds_the_file() -> None:
    (file,) = set_apart(document([URL])).files.values()
    apart = FilesApart()
    taken = [apart.take(CALL, document([URL])), apart.take(UUID(int=6), document({"again": URL}))]
    assert taken == [document([file.label]), document({"again": file.label})]
    assert apart.references() == {
        file.label: {
            "address": f"/api/calls/{CALL}/files/{file.digest}",
            "media_type": "image/png",
            "size_bytes": len(PNG),
            "is_picture": True,
        }
    }
    assert file_of(document(["another"]), file.digest) is None


def test_a_file_that_is_too_large_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 3000)
    raw = document([URL])
    (file,) = set_apart(raw).files.values()
    with pytest.raises(Problem, match=r"This file has 3\.0 kB, and at most 3\.0 kB are sent"):
        file_of(raw, file.digest)


def test_a_search_goes_on_until_the_file_is_found() -> None:
    wanted = FileSearch(label_of([URL])[-33:-1])
    for each in (b"{}", document([URL]), document(["another"])):
        assert wanted.look(CALL, each) is each
    assert wanted.found is not None
    assert wanted.found[1] == PNG
