"""Introspection and revocation of access tokens, refresh tokens and API keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.auth.api_keys.model import is_key
from services.auth.introspection.model import Introspection
from services.auth.revocations.model import Cause
from services.shared.audit.model import Action
from services.shared.audit.recording import record
from services.shared.errors import TokenExpired, TokenInvalid
from services.shared.principal import count_for
from services.shared.tokens import TOKEN

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.api_keys.operations import ApiKeyOperations
    from services.auth.revocations.operations import RevocationOperations
    from services.auth.sessions.operations import SessionOperations
    from services.shared.db import Database
    from services.shared.tokens import AccessTokens


class IntrospectionOperations:
    """Tells a token by its form: an access token is a JWT, an API key has its mark, all else is a refresh token.

    The database is asked each time, so an answer is exact where services take a second to learn of a revocation.
    """

    def __init__(
        self,
        *,
        database: Database,
        verifier: AccessTokens,
        revocations: RevocationOperations,
        sessions: SessionOperations,
        api_keys: ApiKeyOperations,
    ) -> None:
        self._database = database
        self._verifier = verifier
        self._revocations = revocations
        self._sessions = sessions
        self._api_keys = api_keys

    async def introspect_token(self, *, token: str) -> Introspection | None:
        """Return what a token is; None if it is not valid. It is not used: a refresh token stays good."""
        if TOKEN.fullmatch(token):
            return await self._access_token(token)
        async with self._database.reading() as connection:
            if is_key(token):
                key = await self._api_keys.find(connection, key=token)
                times = (int(key.create_time.timestamp()), int(key.expire_time.timestamp())) if key else (0, 0)
                return Introspection(key.user_id, key.id, *times, scopes=key.scopes) if key else None
            found = await self._sessions.find_refresh_token(connection, refresh_token=token)
        if found is None:
            return None
        times = int(found.create_time.timestamp()), int(found.expire_time.timestamp())
        return Introspection(found.user_id, found.session_id, *times)

    async def revoke_token(self, *, token: str) -> None:
        """End the session or the API key that a token belongs to; a token that is not valid has none to end."""
        claims = await self._claims(token) if TOKEN.fullmatch(token) else None

        async def work(connection: AsyncConnection) -> None:
            if claims is not None:
                await self._end(connection, claims)
            elif is_key(token):
                key = await self._api_keys.find(connection, key=token)
                if key is not None:
                    await self._api_keys.end(connection, user_id=key.user_id, api_key_id=key.id)
            elif found := await self._sessions.find_session(connection, refresh_token=token):
                await self._end_session(connection, *found)

        count_for(token=token)
        await self._database.transaction(work)

    async def _end(self, connection: AsyncConnection, claims: dict[str, Any]) -> None:
        """End what an access token belongs to."""
        if "scope" in claims:
            await self._api_keys.end(connection, user_id=claims["sub"], api_key_id=claims["sid"])
        else:
            await self._end_session(connection, claims["sid"], claims["sub"])

    async def _end_session(self, connection: AsyncConnection, session_id: str, user_id: str) -> None:
        if await self._revocations.end_session(connection, session_id=session_id, cause=Cause.SIGNED_OUT):
            target = f"sessions/{session_id}"
            await record(connection, action=Action.SESSION_END, target=target, token_user_id=user_id)

    async def _access_token(self, token: str) -> Introspection | None:
        claims = await self._claims(token)
        if claims is None:
            return None
        async with self._database.reading() as connection:
            revoked = await self._revocations.is_revoked(
                connection,
                session_id=claims["sid"],
                user_id=claims["sub"],
                epoch=claims.get("epoch", 0),
                key_id=claims["kid"],
            )
        if revoked:
            return None
        return Introspection(
            user_id=claims["sub"],
            session_id=claims["sid"],
            issue_time=int(claims["iat"]),
            expire_time=int(claims["exp"]),
            scopes=claims["scope"].split() if "scope" in claims else None,
            token_id=claims["jti"],
            issuer=claims["iss"],
            audience=claims["aud"],
        )

    async def _claims(self, token: str) -> dict[str, Any] | None:
        """Return the claims of an access token, and as `kid` the key that signed it; None if it is invalid."""
        try:
            key_id, claims = await self._verifier.read(token)
        except (TokenInvalid, TokenExpired):
            return None
        return claims | {"kid": key_id}
