"""Keys travel from Postgres to the proxies as hashes in a private file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from watchllm_proxy import keyfile
from watchllm_proxy.grants import Grants, KeyGrant, ProjectTerms, Scope
from watchllm_proxy.proxy.auth import KeyRing

KEY = "lgw_proj_" + "a" * 40


def test_what_is_written_is_read_and_holds_no_key(tmp_path: Path) -> None:
    path = tmp_path / "run" / "keys.json"
    keys = {
        hashlib.sha256(KEY.encode()).digest(): KeyGrant("acme", "k1", frozenset({Scope.PROXY}), 17),
        b"y" * 32: KeyGrant("acme", "k2"),
    }
    grants = Grants(keys, {"acme": ProjectTerms("acme", "sealed"), "other": ProjectTerms("other")})
    keyfile.write(path, grants)
    assert keyfile.read(path) == grants
    assert KEY not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_file_yet_means_no_keys(tmp_path: Path) -> None:
    assert keyfile.read(tmp_path / "keys.json") == Grants()


def test_unchanged_keys_leave_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keyfile.write(path, Grants({b"x" * 32: KeyGrant("acme")}))
    before = path.stat().st_mtime_ns
    keyfile.write(path, Grants({b"x" * 32: KeyGrant("acme")}))
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b'{"00": "acme"}', b"\xff", b'{"format":3}',
        b'{"format":2}\n{', b'{"format":2}\n{"sha256":"zz","key":{"project_id":"acme"}}',
        b'{"format":2}\n{"sha256":"00","key":{}}', b'{"format":2}\n{"sha256":"00"}', b'{"format":2}\n[]',
        b'{"format":2}\n{"project":{"project_id":"acme","sealed_provider_key":[1]}}',
    ],
)  # fmt: skip
def test_a_file_that_is_no_good_leaves_the_keys_in_force_and_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    keys = KeyRing(Grants({hashlib.sha256(KEY.encode()).digest(): KeyGrant("acme")}))
    with capture_logs() as logged:
        keyfile.take_over(path, keys)
    assert keys.lookup(KEY.encode()) == KeyGrant("acme")
    assert [line["event"] for line in logged] == ["keyfile.unreadable"]


def test_a_file_that_is_no_good_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(b"{")
    keyfile.write(path, Grants())
    assert keyfile.read(path) == Grants()


def test_what_a_newer_version_wrote_beside_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(
        b'{"format":2}\n{"project":{"project_id":"acme","colour":"blue"}}\n'
        b'{"sha256":"' + b"00" * 32 + b'","key":{"project_id":"acme","scopes":["proxy","fly"],"speed":3}}\n'
    )
    read = keyfile.read(path)
    assert read.projects == {"acme": ProjectTerms("acme")}
    assert read.keys == {bytes(32): KeyGrant("acme", scopes=frozenset({Scope.PROXY}))}
