"""Who may do what: a key in its own project as far as its scopes go, nobody's key only where that is allowed."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from watchllm_proxy.access import ConsoleAccess
from watchllm_proxy.console.context import Visitor
from watchllm_proxy.grants import ALL_SCOPES, Grants, KeyGrant, Scope
from watchllm_proxy.proxy.auth import KeyRing, digest

KEY, OTHER_KEY = "lgw_proj_" + "k" * 43, "lgw_proj_" + "o" * 43
READER = frozenset({Scope.READ})
RING = KeyRing(
    Grants({digest(KEY.encode()): KeyGrant("acme", scopes=READER), digest(OTHER_KEY.encode()): KeyGrant("other")})
)


async def visitor(
    headers: dict[str, str], *, allow_anonymous: bool = True, is_loopback: bool = True
) -> Visitor | None:
    access = ConsoleAccess(RING, allow_anonymous=allow_anonymous, is_loopback=is_loopback)
    return await access.visitor_of(make_mocked_request("GET", "/runs", headers=headers))


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}"}, {"X-WatchLLM-Key": KEY}])
async def test_a_key_is_for_its_own_project_and_scopes(allowed: bool, headers: dict[str, str]) -> None:
    assert await visitor(headers, allow_anonymous=allowed) == Visitor("acme", READER)


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": "Bearer lgw_proj_"},
        {"X-WatchLLM-Key": "x"},
        {"X-WatchLLM-Key": OTHER_KEY, "Authorization": f"Bearer {KEY}"},
    ],
)
async def test_a_key_that_is_no_good_opens_nothing_even_where_none_is_needed(
    allowed: bool, headers: dict[str, str]
) -> None:
    assert await visitor(headers, allow_anonymous=allowed) is None


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer sk-else"}, {"Authorization": "Basic eA=="}])
async def test_without_a_key_the_setting_decides(headers: dict[str, str]) -> None:
    assert await visitor(headers) == Visitor("default", ALL_SCOPES)
    assert await visitor(headers, allow_anonymous=False) is None


async def test_from_afar_nothing_is_changed_without_a_key() -> None:
    assert await visitor({}, is_loopback=False) == Visitor("default", ALL_SCOPES - {Scope.ADMIN})
