"""Access tokens: JWTs (RFC 9068) signed with ES256, verified as RFC 8725 asks."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import OrderedDict
from contextvars import Context
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import jwt
from jwt.algorithms import ECAlgorithm

from services.shared.errors import DependencyUnavailable, DomainError, TokenExpired, TokenInvalid, TokenRevoked
from services.shared.principal import Principal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from prometheus_client import Counter

logger = logging.getLogger(__name__)

ALGORITHM = "ES256"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - RFC 9068, section 2.1
REQUIRED_CLAIMS = ["iss", "aud", "sub", "sid", "jti", "iat", "exp", "roles"]
LEEWAY_SECONDS = 5
MAX_TOKEN_SECONDS = 3600
"""Upper bound of the setting for the lifetime of access tokens. Tokens of a longer lifetime are refused: made with a
leaked key, they could outlive what is remembered of its revocation."""
TOKEN_LIFE = timedelta(seconds=MAX_TOKEN_SECONDS + LEEWAY_SECONDS)
"""After this time no access token is accepted any more: revocations are kept for as long."""
STALE_SECONDS = 5.0
"""Age of the known revocations above which a token that was revoked may still be accepted, which is counted."""
VERIFIED_TOKENS = 10_000
MAX_TOKEN_CHARACTERS = 4096
TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""JWS Compact Serialization (RFC 7515): decoders of base64 overlook other characters, which would make two of one."""


class KeySource(Protocol):
    """Knows the public keys that tokens may be signed with."""

    async def key(self, key_id: str) -> EllipticCurvePublicKey | None:
        """Return the key of this id (`kid`), or None if there is none such."""
        ...


class RemoteKeys:
    """The keys of another service's JWKS, fetched when needed and kept while it does not answer.

    Only who needs a key that is not known waits for a fetch. Known keys are refreshed in the background, and after a
    failed fetch there is none for a while: a source that hangs would otherwise hold up every token.
    """

    UNKNOWN_KEY_SECONDS = 5.0
    FAILURE_SECONDS = 2.0

    def __init__(self, fetch: Callable[[], Awaitable[Sequence[Mapping[str, str]]]], *, cache_seconds: float) -> None:
        self._fetch = fetch
        self._cache_seconds = cache_seconds
        self._keys: dict[str, EllipticCurvePublicKey] = {}
        self._fetched_at = float("-inf")
        self._failed_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, key_id: str) -> EllipticCurvePublicKey | None:
        """Return the key of this id. Raises DependencyUnavailable if no keys were ever fetched."""
        key, now = self._keys.get(key_id), time.monotonic()
        limit_seconds = min(self.UNKNOWN_KEY_SECONDS, self._cache_seconds) if key is None else self._cache_seconds
        due = now - self._fetched_at > limit_seconds and now - self._failed_at > self.FAILURE_SECONDS
        if self._fetching is None and due:
            # In a context of its own: it serves all calls, and must not end by this one's deadline.
            self._fetching = asyncio.get_running_loop().create_task(self._fetch_keys(), context=Context())
        if key is not None:
            return key
        if self._fetching is not None:
            await asyncio.shield(self._fetching)
        if not self._keys:
            raise DependencyUnavailable(retry_after_seconds=1)
        return self._keys.get(key_id)

    async def _fetch_keys(self) -> None:
        asked_at = time.monotonic()
        try:
            self._keys = {key["kid"]: public_key(key) for key in await self._fetch()}
            self._fetched_at = asked_at  # An answer may be as old as its question.
        except Exception as error:  # noqa: BLE001 - whatever their source raises, the keys that are known stay good
            if self._failed_at <= self._fetched_at:  # Once, however often it fails.
                logger.warning("signing keys could not be fetched", extra={"error": type(error).__name__})
            self._failed_at = time.monotonic()
        finally:
            self._fetching = None


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """Principal and revocation data of a verified token."""

    principal: Principal
    epoch: int
    """The user's epoch when it was issued; 0 where the token has none."""
    key_id: str
    expire_time: float
    """Unix time in seconds, the leeway included."""


@dataclass(frozen=True, slots=True)
class RevokedEpochs:
    """Which tokens of a user are refused: of all revocations of the user, what still matters."""

    before: int = 0
    """Tokens of a lower epoch are refused."""
    except_session_id: str = ""
    """The session that the highest revocation left out."""
    exception_before: int = 0
    """That session's tokens of an epoch below this one are refused, too: the highest that did not leave it out."""

    def with_revocation(self, before_epoch: int, except_session_id: str) -> RevokedEpochs:
        """Return these with another revocation, whatever the order in which they are told."""
        if before_epoch > self.before:
            kept = except_session_id and except_session_id == self.except_session_id
            return RevokedEpochs(before_epoch, except_session_id, self.exception_before if kept else self.before)
        if before_epoch < self.before and except_session_id != self.except_session_id:
            return replace(self, exception_before=max(before_epoch, self.exception_before))
        return self

    def covers(self, token: VerifiedToken) -> bool:
        """Whether the token was revoked."""
        excepted = self.except_session_id and token.principal.session_id == self.except_session_id
        return token.epoch < (self.exception_before if excepted else self.before)


NO_EPOCHS = RevokedEpochs()


class Revocations:
    """Tokens that are refused although they have not expired: by session, by user and epoch, by signing key.

    Each is kept for as long as a token lives, a key for good, and holds at once for verified tokens that are remembered
    and for those that are seen later. Repeating one changes nothing.
    """

    def __init__(self, token_lifetime_seconds: float) -> None:
        self._lifetime_seconds = token_lifetime_seconds
        self._sessions: dict[str, float] = {}
        self._key_ids: set[str] = set()
        self._epochs: dict[str, RevokedEpochs] = {}
        self._users: dict[str, float] = {}

    def revoke_session(self, session_id: str) -> None:
        """Refuse the session's tokens (`sid`)."""
        self._keep(self._sessions, session_id)

    def revoke_user(self, user_id: str, *, before_epoch: int, except_session_id: str = "") -> None:
        """Refuse the user's tokens of an epoch lower than `before_epoch`, but for those of one session."""
        known = self._epochs.get(user_id, NO_EPOCHS)
        self._epochs[user_id] = known.with_revocation(before_epoch, except_session_id)
        for forgotten in self._keep(self._users, user_id):
            del self._epochs[forgotten]

    def revoke_key(self, key_id: str) -> None:
        """Refuse tokens signed by this key (`kid`), for good: who has a leaked key makes new ones."""
        self._key_ids.add(key_id)

    def covers_key(self, key_id: str) -> bool:
        """Whether all tokens signed by this key were revoked."""
        return key_id in self._key_ids

    def covers(self, token: VerifiedToken) -> bool:
        """Whether the token was revoked."""
        principal = token.principal
        if principal.session_id in self._sessions or token.key_id in self._key_ids:
            return True
        epochs = self._epochs.get(principal.user_id)
        return epochs is not None and epochs.covers(token)

    def _keep(self, revoked: dict[str, float], name: str) -> list[str]:
        """Note one; return those that were forgotten. A dict has the oldest first."""
        now = time.monotonic()
        revoked.pop(name, None)
        revoked[name] = now + self._lifetime_seconds
        ended = []
        for oldest, until in revoked.items():
            if until > now:
                break
            ended.append(oldest)
        for oldest in ended:
            del revoked[oldest]
        return ended


class Freshness(Protocol):
    """State of the known revocations, as RevocationFeed has it."""

    @property
    def answered(self) -> bool:
        """Whether revocations were ever read."""
        ...

    @property
    def age_seconds(self) -> float:
        """Age of the known revocations in seconds."""
        ...

    async def first(self) -> None:
        """Wait for the first response."""
        ...


class AccessTokens:
    """Verifies access tokens, and remembers those it has verified until they expire or are revoked.

    With `freshness` no token is accepted before revocations are known, and those that need fresh sessions are not while
    revocations have been unknown for `max_age_seconds`. What else is accepted without knowing the latest is counted.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str,
        audience: str,
        permissions: Mapping[str, frozenset[str]],
        revocations: Revocations | None = None,
        freshness: Freshness | None = None,
        max_age_seconds: float = float("inf"),
        stale: Counter | None = None,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._permissions = permissions
        self._verified: OrderedDict[str, VerifiedToken] = OrderedDict()
        self.revocations = revocations or Revocations(TOKEN_LIFE.total_seconds())
        self._freshness = freshness
        self._max_age_seconds = max_age_seconds
        self._stale = stale

    async def verify(self, token: str, *, fresh: bool = False) -> Principal:
        """Return the token's user; `fresh`: only if revocations are known as of a moment ago.

        Raises TokenInvalid, TokenRevoked, TokenExpired; DependencyUnavailable where revocations are not known.
        """
        verified = self._verified.get(token)
        if verified is None or verified.expire_time <= time.time():
            verified = await self._verify(token)
        if self._freshness is not None:
            if not self._freshness.answered:
                await self._freshness.first()
            self._check(self._freshness, fresh=fresh)
        if self.revocations.covers(verified):
            raise TokenRevoked
        return verified.principal

    def _check(self, freshness: Freshness, *, fresh: bool) -> None:
        """Raise DependencyUnavailable unless revocations are known as well as this needs."""
        age_seconds = freshness.age_seconds
        if not freshness.answered or (fresh and age_seconds > self._max_age_seconds):
            raise DependencyUnavailable(retry_after_seconds=1)
        if age_seconds > STALE_SECONDS and self._stale is not None:
            self._stale.inc()

    async def _verify(self, token: str) -> VerifiedToken:
        self._verified.pop(token, None)
        key_id, claims = await self.read(token)
        roles = claims["roles"]
        verified = VerifiedToken(
            principal=Principal(
                user_id=claims["sub"],
                session_id=claims["sid"],
                role=roles[0],
                permissions=frozenset().union(*(self._permissions.get(role, frozenset()) for role in roles)),
                email_verified=claims.get("email_verified") is True,
                scopes=frozenset(claims["scope"].split()) if "scope" in claims else None,
            ),
            epoch=claims.get("epoch", 0),
            key_id=key_id,
            expire_time=claims["exp"] + LEEWAY_SECONDS,
        )
        self._verified[token] = verified
        if len(self._verified) > VERIFIED_TOKENS:
            self._verified.popitem(last=False)
        return verified

    async def read(self, token: str) -> tuple[str, dict[str, Any]]:
        """Return the id of the key that signed a token, and its claims, whether or not it was revoked.

        Raises TokenInvalid, TokenExpired; DependencyUnavailable where keys are not known.
        """
        if len(token) > MAX_TOKEN_CHARACTERS or not TOKEN.fullmatch(token):
            raise TokenInvalid
        try:
            header = jwt.get_unverified_header(token)
            # Only the key id is taken from the header: never a key (jwk) or where to find one (jku, x5u).
            if header.get("alg") != ALGORITHM or str(header.get("typ")).lower() != TOKEN_TYPE or "crit" in header:
                raise TokenInvalid
            key_id = str(header.get("kid"))
            key = await self._keys.key(key_id)
            if key is None:
                raise self._of_unknown_key(token, key_id)
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
        times = claims["iat"], claims["exp"]
        if any(type(value) not in (int, float) for value in times) or times[1] - times[0] > MAX_TOKEN_SECONDS:
            raise TokenInvalid
        if not (isinstance(roles, list) and roles and all(isinstance(role, str) for role in roles)):
            raise TokenInvalid
        if not (claims["sub"] and isinstance(claims["sid"], str) and type(claims.get("epoch", 0)) is int):
            raise TokenInvalid
        if not isinstance(claims.get("scope", ""), str):
            raise TokenInvalid
        return key_id, claims

    def _of_unknown_key(self, token: str, key_id: str) -> DomainError:
        """Return what is wrong with a token whose key is not published, perhaps not any more: it proves nothing."""
        if self.revocations.covers_key(key_id):
            return TokenRevoked()
        claimed = jwt.decode(token, options={"verify_signature": False}).get("exp")
        past = isinstance(claimed, int) and claimed + LEEWAY_SECONDS < time.time()
        return TokenExpired() if past else TokenInvalid()


def public_key(jwk: Mapping[str, str]) -> EllipticCurvePublicKey:
    """Return the key of a JWK (RFC 7517) of type EC. Raises ValueError."""
    key = ECAlgorithm.from_jwk(dict(jwk))
    if hasattr(key, "private_numbers"):
        raise ValueError("a JWKS holds public keys only")
    return key


def sign(private_key_pem: bytes, key_id: str, claims: Mapping[str, Any]) -> str:
    """Return an access token with these claims, signed with the key of this id."""
    return jwt.encode(dict(claims), private_key_pem, algorithm=ALGORITHM, headers={"kid": key_id, "typ": TOKEN_TYPE})
