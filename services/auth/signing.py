"""Part of the composition root: what signs access tokens, and what reads them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from services.auth.signing_keys.model import KeyTimes
from services.auth.signing_keys.operations import PUBLISHED_SECONDS, SigningKeyOperations
from services.auth.signing_keys.store import SigningKeyStore
from services.auth.tokens.operations import TokenOperations
from services.shared.encryption import Encryption
from services.shared.policy import role_permissions
from services.shared.scopes import declared_scopes
from services.shared.tokens import LEEWAY_SECONDS, AccessTokens, RemoteKeys

if TYPE_CHECKING:
    from services.auth.revocations.operations import RevocationOperations
    from services.auth.settings import AuthSettings
    from services.shared.assembly import Infrastructure

FETCH_SECONDS = 2.0
"""Time by which a fetch of keys may make a cache older than its limit: Envoy's takes two seconds at most."""


def signing_keys(
    infrastructure: Infrastructure[AuthSettings], revocations: RevocationOperations
) -> SigningKeyOperations:
    """Return the operations of the keys that sign access tokens."""
    settings = infrastructure.settings
    return SigningKeyOperations(
        database=infrastructure.database,
        store=SigningKeyStore(),
        encryption=Encryption(settings.derive_keys("signing-keys")),
        revocations=revocations,
        times=_key_times(settings),
        signer_cache_seconds=settings.signing_key_cache_seconds,
    )


def token_operations(settings: AuthSettings, keys: SigningKeyOperations) -> TokenOperations:
    """Return the operations that sign access tokens."""
    return TokenOperations(
        keys=keys,
        public_url=settings.public_url,
        audience=settings.audience,
        lifetime_seconds=settings.access_token_seconds,
        scopes=declared_scopes(),
    )


def access_tokens(settings: AuthSettings, tokens: TokenOperations) -> AccessTokens:
    """Return what reads access tokens, and knows of no revocation."""
    keys = RemoteKeys(tokens.verification_keys, cache_seconds=settings.jwks_cache_seconds)
    return AccessTokens(keys, issuer=settings.public_url, audience=settings.audience, permissions=role_permissions())


def _key_times(settings: AuthSettings) -> KeyTimes:
    return KeyTimes(
        rotation_seconds=timedelta(days=settings.signing_key_days).total_seconds(),
        publication_seconds=settings.jwks_cache_seconds + FETCH_SECONDS + PUBLISHED_SECONDS,
        retirement_seconds=settings.access_token_seconds + settings.signing_key_cache_seconds + LEEWAY_SECONDS,
    )
