"""Auth's composition root: everything is made here, once, and given to what needs it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from services.auth.accounts import convert
from services.auth.accounts.model import UserRegistered, UserRenamed
from services.auth.accounts.operations import AccountOperations
from services.auth.accounts.store import AccountStore
from services.auth.errors import CredentialsInvalid
from services.auth.passwords.operations import PasswordOperations
from services.auth.revocations.internal_servicer import InternalServicer
from services.auth.revocations.operations import RevocationOperations
from services.auth.revocations.store import RevocationStore
from services.auth.revocations.store import retention as revocation_retention
from services.auth.sessions.operations import SessionOperations
from services.auth.sessions.servicer import SessionServicer
from services.auth.sessions.store import SessionStore
from services.auth.sessions.store import retentions as session_retentions
from services.auth.sign_in.operations import SignInOperations
from services.auth.sign_in.servicer import AuthServicer
from services.auth.signing_keys import jobs
from services.auth.signing_keys.model import KeyTimes
from services.auth.signing_keys.operations import SigningKeyOperations
from services.auth.signing_keys.store import SigningKeyStore
from services.auth.tokens.operations import TokenOperations
from services.auth.tokens.servicer import TokenServicer
from services.shared.assembly import Infrastructure
from services.shared.encryption import Encryption
from services.shared.outbox import Outbox
from services.shared.tokens import LEEWAY_SECONDS, RemoteKeys

if TYPE_CHECKING:
    from services.auth.settings import AuthSettings
    from services.shared.outbox import Send
    from services.shared.server import Server


FETCH_SECONDS = 3.0
"""Time by which a fetch of keys may make a cache older than its limit: Envoy's takes two seconds at most."""


@dataclass(frozen=True, slots=True)
class Container:
    """Auth's operations over their infrastructure."""

    infrastructure: Infrastructure[AuthSettings]
    passwords: PasswordOperations
    keys: SigningKeyOperations
    tokens: TokenOperations
    accounts: AccountOperations
    revocations: RevocationOperations
    sessions: SessionOperations
    sign_in: SignInOperations
    outbox: Outbox

    async def ready(self) -> bool:
        """Whether the database answers and there is a key to sign with."""
        return await self.infrastructure.database.ready() and await self.tokens.ready()

    async def close(self) -> None:
        """Let go of threads and connections."""
        await self.passwords.close()
        await self.infrastructure.close()


def assemble(settings: AuthSettings) -> Container:
    """Return the operations."""
    # The account was deleted between the check of its password and the beginning of its session.
    infrastructure = Infrastructure.of(settings, constraints={"sessions_user_id_fkey": CredentialsInvalid})
    revocations = RevocationOperations(
        database=infrastructure.database, store=RevocationStore(), pages=infrastructure.pages
    )
    keys = SigningKeyOperations(
        database=infrastructure.database,
        store=SigningKeyStore(),
        encryption=Encryption(settings.derive_keys("signing-keys")),
        revocations=revocations,
        times=_key_times(settings),
        signer_cache_seconds=settings.signing_key_cache_seconds,
    )
    tokens = TokenOperations(
        keys=keys,
        public_url=settings.public_url,
        audience=settings.audience,
        lifetime_seconds=settings.access_token_seconds,
    )
    passwords = PasswordOperations(settings.bcrypt_cost)
    outbox = Outbox("auth", {UserRegistered: convert.user_registered, UserRenamed: convert.user_renamed})
    accounts = AccountOperations(
        database=infrastructure.database, store=AccountStore(), passwords=passwords, outbox=outbox
    )
    sessions = SessionOperations(
        database=infrastructure.database,
        store=SessionStore(),
        pages=infrastructure.pages,
        revocations=revocations,
        encryption=Encryption(settings.derive_keys("refresh-token-families")),
        idle=timedelta(days=settings.session_idle_days),
        lifetime=timedelta(days=settings.session_days),
    )
    sign_in = SignInOperations(
        database=infrastructure.database,
        store=AccountStore(),
        accounts=accounts,
        passwords=passwords,
        sessions=sessions,
        revocations=revocations,
        tokens=tokens,
    )
    return Container(infrastructure, passwords, keys, tokens, accounts, revocations, sessions, sign_in, outbox)


def _key_times(settings: AuthSettings) -> KeyTimes:
    return KeyTimes(
        rotation_seconds=timedelta(days=settings.signing_key_days).total_seconds(),
        publication_seconds=settings.jwks_cache_seconds + FETCH_SECONDS,
        retirement_seconds=settings.access_token_seconds + settings.signing_key_cache_seconds + LEEWAY_SECONDS,
    )


def build(settings: AuthSettings, *, send: Send | None = None) -> Server:
    """Return Auth's server. It verifies access tokens by the same keys that it publishes. Tests take the events."""
    container = assemble(settings)
    return container.infrastructure.server(
        AuthServicer(container.sign_in, container.accounts),
        TokenServicer(container.tokens),
        SessionServicer(container.sessions),
        InternalServicer(container.revocations),
        periodic=jobs.periodic(container.keys),
        retentions=[revocation_retention(), *session_retentions()],
        outbox=container.outbox,
        send=send,
        keys=RemoteKeys(container.tokens.verification_keys, cache_seconds=settings.jwks_cache_seconds),
        revocations=container.revocations,
        ready=container.ready,
        close=[container.passwords.close],
    )
