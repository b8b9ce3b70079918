"""Access tokens: what is refused, and that keys are fetched no more than needed."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from jwt.algorithms import ECAlgorithm

from services.shared.errors import DependencyUnavailable, DomainError, TokenExpired, TokenInvalid
from services.shared.ids import new_id
from services.shared.tokens import RemoteKeys, public_key, sign
from tests.support.serving import KEY_ID, Signer

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
    "changes",
    [
        {"aud": "other"},
        {"iss": "https://evil"},
        {"sub": None},
        {"sid": None},
        {"exp": None},
        {"roles": []},
        {"roles": "ROLE_ADMIN"},
        {"iat": int(time.time()) + 900},
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
        "x" * 5000,
    ]
    for token in forged:
        with pytest.raises(TokenInvalid):
            await signer.verifier().verify(token)


async def test_a_remembered_token_still_ends(signer: Signer) -> None:
    verifier, token = signer.verifier(), signer.token(exp=int(time.time()) + 60)
    principal = await verifier.verify(token)
    assert await verifier.verify(token) is principal
    verifier._verified[token] = (time.time() - 1, principal)
    with pytest.raises(TokenExpired):
        await verifier.verify(token)


class Published:
    """A JWKS that can be away, and counts how often it was asked."""

    def __init__(self, signer: Signer) -> None:
        self.keys = [json.loads(ECAlgorithm.to_jwk(signer._private.public_key())) | {"kid": KEY_ID}]
        self.asked = 0
        self.away = False

    async def fetch(self) -> Sequence[Mapping[str, str]]:
        self.asked += 1
        if self.away:
            raise DependencyUnavailable
        return self.keys


async def test_keys_are_fetched_once_and_outlive_their_source(signer: Signer) -> None:
    published = Published(signer)
    keys = RemoteKeys(published.fetch)
    assert await keys.key(KEY_ID) is not None
    assert await keys.key("unknown") is None  # Just fetched: not asked again.
    assert published.asked == 1
    published.away = True
    keys._fetched_at -= 1000
    assert await keys.key(KEY_ID) is not None


async def test_without_any_keys_the_dependency_is_unavailable(signer: Signer) -> None:
    published = Published(signer)
    published.away = True
    with pytest.raises(DomainError, match="temporarily unavailable"):
        await RemoteKeys(published.fetch).key(KEY_ID)


def test_a_jwks_with_a_private_key_is_refused(signer: Signer) -> None:
    with pytest.raises(ValueError, match="public keys only"):
        public_key(json.loads(ECAlgorithm.to_jwk(signer._private)))
