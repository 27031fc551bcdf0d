"""Who reads what: a key its own project, nobody's key only where that is allowed."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from watchllm_proxy.access import ConsoleAccess
from watchllm_proxy.grants import Grants, KeyGrant
from watchllm_proxy.proxy.auth import KeyRing, digest

KEY = "lgw_proj_" + "k" * 43
RING = KeyRing(Grants({digest(KEY.encode()): KeyGrant("acme")}))


@pytest.mark.parametrize("allowed", [True, False])
def test_a_key_reads_its_own_project(allowed: bool) -> None:
    access = ConsoleAccess(RING, allow_anonymous=allowed)
    request = make_mocked_request("GET", "/runs", headers={"Authorization": f"Bearer {KEY}"})
    assert access.project_of(request) == "acme"


@pytest.mark.parametrize("allowed", [True, False])
def test_an_unknown_key_reads_nothing_even_where_none_is_needed(allowed: bool) -> None:
    access = ConsoleAccess(RING, allow_anonymous=allowed)
    request = make_mocked_request("GET", "/runs", headers={"Authorization": f"Bearer {KEY}x"})
    assert access.project_of(request) is None


@pytest.mark.parametrize(("allowed", "project"), [(True, "default"), (False, None)])
@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer sk-somebody-else"}, {"Authorization": "Basic eA=="}]
)
def test_without_a_key_the_setting_decides(allowed: bool, project: str | None, headers: dict[str, str]) -> None:
    access = ConsoleAccess(RING, allow_anonymous=allowed)
    assert access.project_of(make_mocked_request("GET", "/runs", headers=headers)) == project
