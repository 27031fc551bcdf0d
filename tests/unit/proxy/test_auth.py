"""Project keys: looked up by the digest of the whole key, replaced at once, hidden in what is printed."""

from __future__ import annotations

import pytest

from watchllm_proxy.proxy.answers import Refusal
from watchllm_proxy.proxy.auth import Authenticator, KeyRing, ProjectKey, digest

KEY = b"lgw_proj_" + b"a" * 32
RING = {digest(KEY): ProjectKey("shop", None)}


def identify(
    credentials: dict[bytes, bytes], *, upstream_key: str | None = "sk-up", anonymous: bool = False
) -> object:
    ring = Authenticator(KeyRing(RING), upstream_key=upstream_key, allow_anonymous=anonymous)
    try:
        identity = ring.identify(credentials)
    except Refusal as refusal:
        return refusal.answer.status
    return identity.project_id, dict(identity.replaced)


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        ({b"authorization": b"Bearer " + KEY}, ("shop", {b"authorization": b"Bearer sk-up"})),
        ({b"authorization": b"BEARER   " + KEY}, ("shop", {b"authorization": b"Bearer sk-up"})),
        ({b"x-api-key": KEY}, ("shop", {b"x-api-key": b"sk-up"})),
        (
            {b"x-api-key": KEY, b"authorization": b"Bearer " + KEY},
            ("shop", {b"x-api-key": b"sk-up", b"authorization": b"Bearer sk-up"}),
        ),
        ({b"x-watchllm-key": KEY, b"authorization": b"Bearer sk-mine"}, ("shop", {})),
        ({b"x-watchllm-key": KEY, b"authorization": b"Basic " + KEY}, ("shop", {})),
        ({b"authorization": b"Basic " + KEY}, 401),
        ({b"authorization": KEY}, 401),
        ({b"authorization": b"Bearer " + KEY[:-1]}, 401),
        ({b"authorization": b"Bearer " + KEY + b"\0"}, 401),
        ({b"x-watchllm-key": KEY[9:]}, 401),
        ({b"x-watchllm-key": KEY + b"b", b"authorization": b"Bearer " + KEY}, 400),
        ({}, 401),
    ],
)
def test_who_is_calling(credentials: dict[bytes, bytes], expected: object) -> None:
    assert identify(credentials) == expected


def test_anonymous_calls_need_the_setting_and_leave_credentials_alone() -> None:
    mine = {b"authorization": b"Bearer sk-mine"}
    assert identify(mine) == 401
    assert identify(mine, anonymous=True) == ("default", {})
    assert identify({}, anonymous=True) == ("default", {})
    assert identify({b"authorization": b"Bearer lgw_proj_x"}, anonymous=True) == 401


def test_a_project_without_a_provider_key_is_told_what_to_set() -> None:
    ring = Authenticator(KeyRing(RING), upstream_key=None, allow_anonymous=True)
    with pytest.raises(Refusal) as refused:
        ring.identify({b"authorization": b"Bearer " + KEY})
    assert refused.value.answer.status == 401
    assert b"WATCHLLM_UPSTREAM_API_KEY" in refused.value.answer.body
    assert ring.identify({b"x-watchllm-key": KEY}).project_id == "shop", "the client pays for itself"


def test_the_projects_own_provider_key_comes_first() -> None:
    ring = KeyRing({digest(KEY): ProjectKey("shop", "sk-of-shop")})
    identity = Authenticator(ring, upstream_key="sk-up", allow_anonymous=False).identify({b"api-key": KEY})
    assert identity.replaced == {b"api-key": b"sk-of-shop"}


def test_a_replaced_ring_forgets_revoked_keys() -> None:
    ring = KeyRing(RING)
    assert ring.lookup(KEY) == ProjectKey("shop", None)
    ring.replace({digest(b"lgw_proj_new"): ProjectKey("other")})
    assert ring.lookup(KEY) is None
    assert ring.lookup(b"lgw_proj_new") == ProjectKey("other")
    assert len(ring) == 1


def test_provider_keys_are_not_printed() -> None:
    ring = KeyRing({digest(KEY): ProjectKey("shop", "sk-secret")})
    identity = Authenticator(ring, upstream_key=None, allow_anonymous=False).identify({b"api-key": KEY})
    assert "secret" not in repr(ProjectKey("shop", "sk-secret")) + repr(identity) + repr(ring)
