"""Keys travel from Postgres to the proxies as hashes in a private file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from watchllm_proxy import keyfile
from watchllm_proxy.proxy.auth import KeyRing, ProjectKey

KEY = "lgw_proj_" + "a" * 40


def test_what_is_written_is_read_and_holds_no_key(tmp_path: Path) -> None:
    path = tmp_path / "run" / "keys.json"
    keys = {hashlib.sha256(KEY.encode()).digest(): ProjectKey("acme", None)}
    keyfile.write(path, keys)
    assert keyfile.read(path) == keys
    assert KEY not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_file_yet_means_no_keys(tmp_path: Path) -> None:
    assert keyfile.read(tmp_path / "keys.json") == {}


def test_unchanged_keys_leave_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keyfile.write(path, {b"x" * 32: ProjectKey("acme", None)})
    before = path.stat().st_mtime_ns
    keyfile.write(path, {b"x" * 32: ProjectKey("acme", None)})
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"zz": "acme"}', b'{"00": 1}', b"\xff"])
def test_a_file_that_is_no_good_leaves_the_keys_in_force_and_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    keys = KeyRing({hashlib.sha256(KEY.encode()).digest(): ProjectKey("acme", None)})
    with capture_logs() as logged:
        keyfile.take_over(path, keys)
    assert keys.lookup(KEY.encode()) == ProjectKey("acme", None)
    assert [line["event"] for line in logged] == ["keyfile.unreadable"]


def test_a_file_that_is_no_good_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(b"{")
    keyfile.write(path, {})
    assert keyfile.read(path) == {}
