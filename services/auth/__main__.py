"""The composition root of Auth: python -m services.auth [migrate]."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc, token_service_pb2, token_service_pb2_grpc

from interceptors import chain
from interceptors.rate_limit import Limiter
from services.auth.accounts.operations import Accounts
from services.auth.accounts.servicer import AuthServicer
from services.auth.accounts.store import AccountStore
from services.auth.errors import CredentialsInvalid
from services.auth.passwords.operations import Passwords
from services.auth.sessions.operations import Sessions
from services.auth.sessions.store import SessionStore
from services.auth.settings import AuthSettings
from services.auth.tokens.operations import Tokens
from services.auth.tokens.servicer import TokenServicer
from services.auth.tokens.store import SigningKeyStore
from services.shared import server
from services.shared.db import Database
from services.shared.policy import role_permissions
from services.shared.seal import Seal
from services.shared.server import Served, Server
from services.shared.tokens import AccessTokens, RemoteKeys

AUTH = auth_service_pb2.DESCRIPTOR.services_by_name["AuthService"]
TOKENS = token_service_pb2.DESCRIPTOR.services_by_name["TokenService"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What Auth is made of, under its servicers."""

    database: Database
    passwords: Passwords
    tokens: Tokens
    accounts: Accounts

    async def ready(self) -> bool:
        """Whether the database answers and there is a key to sign with."""
        return await self.database.ready() and await self.tokens.ready()

    async def close(self) -> None:
        """Let go of threads and connections."""
        await self.passwords.close()
        await self.database.close()


def assemble(settings: AuthSettings) -> Parts:
    """Return the parts, put together as the settings say. Must be called in the event loop that they will run in."""
    database = Database(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        # The account was deleted between the check of its password and the beginning of its session.
        constraints={"sessions_user_id_fkey": CredentialsInvalid},
    )
    tokens = Tokens(
        database=database,
        store=SigningKeyStore(),
        seal=Seal(settings.derive_key("signing-keys")),
        issuer=settings.issuer,
        audience=settings.audience,
        lifetime_seconds=settings.access_token_seconds,
    )
    passwords = Passwords(settings.bcrypt_cost)
    accounts = Accounts(
        database=database,
        store=AccountStore(),
        passwords=passwords,
        sessions=Sessions(
            store=SessionStore(),
            seal=Seal(settings.derive_key("refresh-token-families")),
            idle=timedelta(days=settings.session_idle_days),
            lifetime=timedelta(days=settings.session_days),
        ),
        tokens=tokens,
    )
    return Parts(database, passwords, tokens, accounts)


def build(settings: AuthSettings) -> Server:
    """Return the server of Auth. It verifies access tokens by the same keys that it publishes."""
    parts = assemble(settings)
    verifier = AccessTokens(
        RemoteKeys(parts.tokens.jwks),
        issuer=settings.issuer,
        audience=settings.audience,
        permissions=role_permissions(),
    )
    limiter = Limiter(scale=settings.rate_limit_scale, redis_url=settings.counters_url)
    return Server(
        settings=settings,
        guard=partial(chain, verifier=verifier, limiter=limiter),
        services=[
            Served(AUTH, AuthServicer(parts.accounts), auth_service_pb2_grpc.add_AuthServiceServicer_to_server),
            Served(TOKENS, TokenServicer(parts.tokens), token_service_pb2_grpc.add_TokenServiceServicer_to_server),
        ],
        ready=parts.ready,
        close=[limiter.close, parts.close],
    )


if __name__ == "__main__":
    server.main("auth", AuthSettings, build)
