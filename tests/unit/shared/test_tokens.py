"""Access tokens: what is refused, and that keys are fetched no more than needed."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from jwt.algorithms import ECAlgorithm

from services.shared.errors import DependencyUnavailable, DomainError, TokenExpired, TokenInvalid
from services.shared.ids import new_id
from services.shared.principal import Principal, Request, current_request, serve_request
from services.shared.tokens import RemoteKeys, Revocations, RevokedEpochs, VerifiedToken, public_key, sign
from tests.support.serving import KEY_ID, Signer
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@pytest.fixture
def signer() -> Signer:
    return Signer()


async def test_a_good_token_names_its_user_and_what_the_role_may(signer: Signer) -> None:
    user_id = new_id()
    principal = await signer.verifier().verify(signer.token(user_id, role="ROLE_EDUCATOR"))
    assert principal.user_id == user_id
    assert principal.may("PERMISSION_COURSES_WRITE")
    assert not principal.may("PERMISSION_EARN_GRANT")


@pytest.mark.parametrize(
    ("claim", "verified"), [(True, True), (False, False), (None, False), (1, False), ("true", False)]
)
async def test_only_a_token_that_says_so_vouches_for_an_email(signer: Signer, claim: object, *, verified: bool) -> None:
    principal = await signer.verifier().verify(signer.token(email_verified=claim))
    assert principal.email_verified is verified
    assert principal.through(address="10.0.0.1").email_verified is verified


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "other"},
        {"iss": "https://evil"},
        {"sub": None},
        {"sid": None},
        {"exp": None},
        {"roles": []},
        {"roles": "ROLE_ADMIN"},
        {"iat": int(time.time()) + 86_400},
        {"sid": 7},
        {"epoch": "1"},
        {"epoch": True},
    ],
)
async def test_a_token_with_wrong_claims_is_refused(signer: Signer, changes: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        await signer.verifier().verify(signer.token(**changes))


async def test_an_unknown_role_may_nothing(signer: Signer) -> None:
    principal = await signer.verifier().verify(signer.token(role="ROLE_GOD"))
    assert principal.permissions == frozenset()


async def test_another_key_another_algorithm_and_other_headers_are_refused(signer: Signer) -> None:
    claims = jwt.decode(signer.token(), options={"verify_signature": False})
    forged = [
        Signer().token(),
        sign(signer.pem, "unknown", claims),
        jwt.encode(claims, "k" * 32, algorithm="HS256", headers={"kid": KEY_ID, "typ": "at+jwt"}),
        jwt.encode(claims, "", algorithm="none", headers={"kid": KEY_ID, "typ": "at+jwt"}),
        jwt.encode(claims, signer.pem, algorithm="ES256", headers={"kid": KEY_ID, "typ": "JWT"}),
        jwt.encode(
            claims, signer.pem, algorithm="ES256", headers={"kid": KEY_ID, "typ": "at+jwt", "crit": ["x"], "x": 1}
        ),
        signer.token()[:-2] + "AA",
        signer.token() + "!",
        signer.token() + "\n",
        "x" * 5000,
        "",
    ]
    for token in forged:
        with pytest.raises(TokenInvalid):
            await signer.verifier().verify(token)


async def test_a_remembered_token_still_ends(signer: Signer) -> None:
    verifier, now = signer.verifier(), time.time()
    token = signer.token(exp=int(now) + 60)
    principal = await verifier.verify(token)
    assert await verifier.verify(token) is principal
    verifier._verified[token] = replace(verifier._verified[token], expire_time=now - 1)
    assert await verifier.verify(token) == principal, "what is remembered as expired is verified anew"
    assert await verifier.verify(signer.token(exp=int(now) - 2)), "clocks differ by some seconds"
    with pytest.raises(TokenExpired):
        await verifier.verify(signer.token(exp=int(now) - 60))


@pytest.mark.parametrize("remembered", [True, False])
async def test_a_revoked_token_is_refused_at_once_whether_it_was_seen_before_or_not(
    signer: Signer, remembered: bool
) -> None:
    verifier = signer.verifier()
    revoked = verifier.revocations
    of_session, of_user = signer.token(sid="s"), signer.token("u", epoch=3)
    other, later = signer.token(), signer.token("u", epoch=4)
    if remembered:
        for token in (of_session, of_user, other, later):
            await verifier.verify(token)
    revoked.revoke_session("s")
    revoked.revoke_user("u", before_epoch=4)
    revoked.revoke_user("u", before_epoch=2)  # Told late: it takes nothing back.
    for token in (of_session, of_user, signer.token("u")):
        with pytest.raises(TokenInvalid):
            await verifier.verify(token)
    assert await verifier.verify(other)
    assert await verifier.verify(later)
    revoked.revoke_key(KEY_ID)
    for token in (other, later, signer.token()):
        with pytest.raises(TokenInvalid):
            await verifier.verify(token)


def test_revocations_are_forgotten_when_no_token_can_be_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    revocations = Revocations(token_lifetime_seconds=10)
    token = VerifiedToken(Principal(user_id="u", session_id="s"), 0, "k", 0.0)
    revocations.revoke_session("s")
    revocations.revoke_user("u", before_epoch=1)
    now[0] = 9.0
    revocations.revoke_session("s")
    now[0] = 11.0
    revocations.revoke_session("t")
    assert revocations.covers(token), "repeated at 9, so held until 19"
    now[0] = 30.0
    revocations.revoke_session("t")
    revocations.revoke_user("v", before_epoch=1)
    assert not revocations.covers(token)
    assert revocations._epochs == {"v": RevokedEpochs(1)}


class Published:
    """A JWKS that can be away, and counts how often it was asked."""

    def __init__(self, signer: Signer) -> None:
        self.keys = [json.loads(ECAlgorithm.to_jwk(signer._private.public_key())) | {"kid": KEY_ID}]
        self.asked = 0
        self.away = False
        self.hangs = False

    async def fetch(self) -> Sequence[Mapping[str, str]]:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.away:
            raise DependencyUnavailable
        return self.keys


async def test_keys_are_fetched_once_and_outlive_their_source(signer: Signer) -> None:
    published = Published(signer)
    keys = RemoteKeys(published.fetch, cache_seconds=300)
    assert await keys.key(KEY_ID) is not None
    assert await keys.key("unknown") is None  # Just fetched: not asked again.
    assert published.asked == 1
    published.away = True
    keys._fetched_at -= 1000
    assert await keys.key(KEY_ID) is not None
    await eventually(lambda: _failed(keys))
    assert await keys.key("unknown") is None
    assert await keys.key(KEY_ID) is not None
    assert published.asked == 2, "a failure is remembered for seconds"
    keys._failed_at -= keys.FAILURE_SECONDS + 1
    published.away = False
    assert await keys.key("unknown") is None
    assert published.asked == 3


async def test_a_source_that_is_away_is_logged_once(signer: Signer, caplog: pytest.LogCaptureFixture) -> None:
    published = Published(signer)
    keys = RemoteKeys(published.fetch, cache_seconds=300)
    for away in (False, True, True, False, True):
        published.away = away
        keys._fetched_at -= 1000
        keys._failed_at -= 1000
        await keys.key("unknown")
    assert len(caplog.records) == 2


async def test_a_source_that_hangs_holds_up_no_token_whose_key_is_known(signer: Signer) -> None:
    published = Published(signer)
    keys = RemoteKeys(published.fetch, cache_seconds=300)
    await keys.key(KEY_ID)
    published.hangs = True
    keys._fetched_at -= 1000
    async with asyncio.timeout(1):
        for _ in range(100):
            assert await keys.key(KEY_ID) is not None
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await keys.key("unknown")
    assert published.asked == 2, "one fetch at a time, however many wait or give up"
    keys._fetching.cancel()  # type: ignore[union-attr] # It hangs.


async def test_a_fetch_belongs_to_no_call_and_survives_the_one_that_began_it(signer: Signer) -> None:
    published, seen = Published(signer), []

    async def fetch() -> Sequence[Mapping[str, str]]:
        seen.append(current_request())
        await released.wait()
        return published.keys

    released, keys = asyncio.Event(), RemoteKeys(fetch, cache_seconds=300)
    serve_request(Request(id="r", traceparent=""))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await keys.key(KEY_ID)
    released.set()
    assert await keys.key(KEY_ID) is not None
    assert seen == [None]


async def _failed(keys: RemoteKeys) -> bool:
    return keys._fetching is None


async def test_without_any_keys_the_dependency_is_unavailable(signer: Signer) -> None:
    published = Published(signer)
    published.away = True
    with pytest.raises(DomainError, match="temporarily unavailable"):
        await RemoteKeys(published.fetch, cache_seconds=300).key(KEY_ID)


def test_a_jwks_with_a_private_key_is_refused(signer: Signer) -> None:
    with pytest.raises(ValueError, match="public keys only"):
        public_key(json.loads(ECAlgorithm.to_jwk(signer._private)))
