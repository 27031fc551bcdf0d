"""Project keys: looked up by the digest of the whole key, replaced at once, hidden in what is printed."""

from __future__ import annotations

import pytest

from watchllm_proxy.grants import Grants, KeyGrant, ProjectTerms, Scope
from watchllm_proxy.guessing import GuessLimit
from watchllm_proxy.proxy.answers import Refusal
from watchllm_proxy.proxy.auth import Authenticator, KeyRing, digest
from watchllm_proxy.sealing import Vault

KEY = b"lgw_proj_" + b"a" * 32
SHOP = KeyGrant("shop", "k1")
opened = Vault(()).provider_key
RING = Grants({digest(KEY): SHOP})


def identify(
    credentials: dict[bytes, bytes], *, upstream_key: str | None = "sk-up", anonymous: bool = False
) -> object:
    ring = Authenticator(
        KeyRing(RING), upstream_key=upstream_key, allow_anonymous=anonymous, open_provider_key=opened
    )
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
    ring = Authenticator(KeyRing(RING), upstream_key=None, allow_anonymous=True, open_provider_key=opened)
    with pytest.raises(Refusal) as refused:
        ring.identify({b"authorization": b"Bearer " + KEY})
    assert refused.value.answer.status == 401
    assert b"WATCHLLM_UPSTREAM_API_KEY" in refused.value.answer.body
    assert ring.identify({b"x-watchllm-key": KEY}).project_id == "shop", "the client pays for itself"


def test_the_projects_own_provider_key_comes_first() -> None:
    ring = KeyRing(Grants(RING.keys, {"shop": ProjectTerms("shop", "sealed")}))
    ours = {"sealed": b"sk-of-shop"}
    authenticator = Authenticator(
        ring,
        upstream_key="sk-up",
        allow_anonymous=False,
        open_provider_key=lambda terms: ours[str(terms.sealed_provider_key)],
    )
    assert authenticator.identify({b"api-key": KEY}).replaced == {b"api-key": b"sk-of-shop"}


def test_a_provider_key_that_cannot_be_opened_is_not_replaced_by_that_of_the_settings() -> None:
    ring = KeyRing(Grants(RING.keys, {"shop": ProjectTerms("shop", "sealed with another key")}))
    authenticator = Authenticator(ring, upstream_key="sk-up", allow_anonymous=True, open_provider_key=opened)
    with pytest.raises(Refusal) as refused:
        authenticator.identify({b"authorization": b"Bearer " + KEY})
    assert refused.value.answer.status == 503
    assert authenticator.identify({b"x-watchllm-key": KEY}).project_id == "shop", "the client pays for itself"


@pytest.mark.parametrize("needed", list(Scope))
def test_a_key_is_good_for_its_scopes_alone(needed: Scope) -> None:
    grants = Grants({digest(KEY): KeyGrant("shop", "k1", frozenset({Scope.INGEST}))})
    authenticator = Authenticator(
        KeyRing(grants), upstream_key="sk-up", allow_anonymous=True, open_provider_key=opened
    )
    if needed is Scope.INGEST:
        assert authenticator.identify({b"x-watchllm-key": KEY}, needed).grant == grants.keys[digest(KEY)]
        return
    with pytest.raises(Refusal) as refused:
        authenticator.identify({b"x-watchllm-key": KEY}, needed)
    assert refused.value.answer.status == 403
    assert f'"code": "{needed}_scope_required"'.encode() in refused.value.answer.body


def test_a_key_that_goes_no_further_than_us_needs_no_provider_key() -> None:
    authenticator = Authenticator(
        KeyRing(RING), upstream_key=None, allow_anonymous=False, open_provider_key=opened
    )
    identity = authenticator.identify({b"authorization": b"Bearer " + KEY}, Scope.INGEST)
    assert (identity.project_id, identity.grant, identity.replaced) == ("shop", SHOP, {})


def test_a_key_ends_at_its_time_though_nobody_takes_it_out_of_the_ring() -> None:
    now_s = [99.0]
    ring = KeyRing(Grants({digest(KEY): KeyGrant("shop", expires_at_us=100_000_000)}), clock_s=lambda: now_s[0])
    assert ring.lookup(KEY) is not None
    now_s[0] = 100.0
    assert ring.lookup(KEY) is None


def test_a_replaced_ring_forgets_revoked_keys() -> None:
    ring = KeyRing(RING)
    assert ring.lookup(KEY) == SHOP
    ring.replace(Grants({digest(b"lgw_proj_new"): KeyGrant("other")}))
    assert ring.lookup(KEY) is None
    assert ring.lookup(b"lgw_proj_new") == KeyGrant("other")
    assert len(ring) == 1


def test_provider_keys_are_not_printed() -> None:
    ring = KeyRing(Grants(RING.keys, {"shop": ProjectTerms("shop", "sealed-secret")}))
    authenticator = Authenticator(
        ring, upstream_key=None, allow_anonymous=False, open_provider_key=lambda terms: b"sk-secret"
    )
    assert "secret" not in repr(ring.terms("shop")) + repr(authenticator.identify({b"api-key": KEY})) + repr(ring)


# --- guessing ---------------------------------------------------------------------------------------


def guessing() -> tuple[Authenticator, KeyRing]:
    ring = KeyRing(Grants({digest(KEY): SHOP, digest(b"lgw_proj_fresh"): KeyGrant("fresh")}))
    authenticator = Authenticator(
        ring,
        upstream_key="sk-up",
        allow_anonymous=False,
        open_provider_key=opened,
        guesses=GuessLimit(burst=3, per_s=0),
    )
    return authenticator, ring


def answer_to(authenticator: Authenticator, key: bytes, address: str = "10.0.0.1") -> int:
    try:
        authenticator.identify({b"authorization": b"Bearer " + key}, address=address)
    except Refusal as refusal:
        return refusal.answer.status
    return 200


def test_who_guesses_is_told_nothing_any_more_and_others_are_served() -> None:
    authenticator, ring = guessing()
    assert answer_to(authenticator, KEY) == 200
    assert [answer_to(authenticator, b"lgw_proj_%d" % n) for n in range(5)] == [401, 401, 401, 429, 429]
    assert answer_to(authenticator, b"lgw_proj_fresh") == 429, "right or wrong: it was not looked at"
    assert answer_to(authenticator, KEY) == 200, "in use here before"
    assert answer_to(authenticator, b"lgw_proj_fresh", "10.0.0.2") == 200
    ring.replace(Grants())
    assert answer_to(authenticator, KEY) == 429, "revoked, and no longer known to have been in use"


def test_what_is_malformed_unknown_revoked_or_at_its_end_looks_the_same() -> None:
    ended, revoked = b"lgw_proj_" + b"e" * 43, b"lgw_proj_" + b"r" * 43
    ring = KeyRing(Grants({digest(ended): KeyGrant("shop", expires_at_us=1), digest(revoked): SHOP}))
    ring.lookup(revoked)
    ring.replace(Grants({digest(ended): KeyGrant("shop", expires_at_us=1)}))
    authenticator = Authenticator(ring, upstream_key="sk", allow_anonymous=True, open_provider_key=opened)
    seen = set()
    for key in (
        b"lgw_proj_",
        b"lgw_proj_\xff",
        b"lgw_proj_" + b"u" * 43,
        b"lgw_proj_" + b"x" * 9_000,
        ended,
        revoked,
    ):
        with pytest.raises(Refusal) as refused:
            authenticator.identify({b"x-api-key": key})
        seen.add(refused.value.answer.encode("id"))
    assert len(seen) == 1
