"""Access tokens: JWTs (RFC 9068) signed with ES256, verified as RFC 8725 asks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Protocol

import jwt
from jwt.algorithms import ECAlgorithm

from services.shared.errors import DependencyUnavailable, TokenExpired, TokenInvalid
from services.shared.principal import Principal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

logger = logging.getLogger(__name__)

ALGORITHM = "ES256"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - RFC 9068, section 2.1
REQUIRED_CLAIMS = ["iss", "aud", "sub", "sid", "jti", "iat", "exp", "roles"]
LEEWAY_SECONDS = 5
VERIFIED_TOKENS = 10_000
MAX_TOKEN_CHARACTERS = 4096


class KeySource(Protocol):
    """Knows the public keys that tokens may be signed with."""

    async def key(self, key_id: str) -> EllipticCurvePublicKey | None:
        """Return the key of this id (`kid`), or None if there is none such."""
        ...


class RemoteKeys:
    """The keys of another service's JWKS, fetched when needed and kept while it does not answer."""

    REFRESH_SECONDS = 300.0
    UNKNOWN_KEY_SECONDS = 5.0

    def __init__(self, fetch: Callable[[], Awaitable[Sequence[Mapping[str, str]]]]) -> None:
        self._fetch = fetch
        self._keys: dict[str, EllipticCurvePublicKey] = {}
        self._fetched_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def key(self, key_id: str) -> EllipticCurvePublicKey | None:
        """Return the key of this id. Raises DependencyUnavailable if no keys were ever fetched."""
        age = time.monotonic() - self._fetched_at
        if age > self.REFRESH_SECONDS or (key_id not in self._keys and age > self.UNKNOWN_KEY_SECONDS):
            await self._refresh(self._fetched_at)
        return self._keys.get(key_id)

    async def _refresh(self, seen_at: float) -> None:
        async with self._fetching:
            if self._fetched_at != seen_at:  # Someone else fetched while we waited.
                return
            try:
                keys = await self._fetch()
            except Exception as error:  # Whatever their source raises, the keys that are known stay good.
                if not self._keys:
                    raise DependencyUnavailable(retry_after_seconds=1) from error
                logger.warning("signing keys could not be fetched", extra={"error": type(error).__name__})
                return
            self._keys = {key["kid"]: public_key(key) for key in keys}
            self._fetched_at = time.monotonic()


class AccessTokens:
    """Verifies access tokens, and remembers those it has verified until they end."""

    def __init__(
        self, keys: KeySource, *, issuer: str, audience: str, permissions: Mapping[str, frozenset[str]]
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._permissions = permissions
        self._verified: OrderedDict[str, tuple[float, Principal]] = OrderedDict()

    async def verify(self, token: str) -> Principal:
        """Return the token's user. Raises TokenInvalid or TokenExpired."""
        remembered = self._verified.get(token)
        if remembered is not None:
            expires_at, principal = remembered
            if time.time() < expires_at:
                return principal
            del self._verified[token]
            raise TokenExpired
        claims = await self._claims(token)
        principal = Principal(
            user_id=claims["sub"],
            session_id=claims["sid"],
            role=claims["roles"][0],
            permissions=frozenset().union(*(self._permissions.get(role, frozenset()) for role in claims["roles"])),
        )
        self._verified[token] = (claims["exp"], principal)
        if len(self._verified) > VERIFIED_TOKENS:
            self._verified.popitem(last=False)
        return principal

    async def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise TokenInvalid
        try:
            header = jwt.get_unverified_header(token)
            # Only the key id is taken from the header: never a key (jwk) or where to find one (jku, x5u).
            if header.get("alg") != ALGORITHM or str(header.get("typ")).lower() != TOKEN_TYPE or "crit" in header:
                raise TokenInvalid
            key = await self._keys.key(str(header.get("kid")))
            if key is None:
                raise TokenInvalid
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
                options={"require": REQUIRED_CLAIMS},
            )
        except jwt.ExpiredSignatureError:
            raise TokenExpired from None
        except (jwt.InvalidTokenError, ValueError):
            raise TokenInvalid from None
        roles = claims["roles"]
        if not (isinstance(roles, list) and roles and all(isinstance(role, str) for role in roles)):
            raise TokenInvalid
        return claims


def public_key(jwk: Mapping[str, str]) -> EllipticCurvePublicKey:
    """Return the key of a JWK (RFC 7517) of type EC. Raises ValueError."""
    key = ECAlgorithm.from_jwk(dict(jwk))
    if hasattr(key, "private_numbers"):
        raise ValueError("a JWKS holds public keys only")
    return key


def sign(private_key_pem: bytes, key_id: str, claims: Mapping[str, Any]) -> str:
    """Return an access token with these claims, signed with the key of this id."""
    return jwt.encode(dict(claims), private_key_pem, algorithm=ALGORITHM, headers={"kid": key_id, "typ": TOKEN_TYPE})
