"""API keys, and the access tokens that they are exchanged for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.auth.accounts.model import NAME_RULE, PersonName
from services.auth.api_keys.model import (
    DEFAULT_LIFETIME,
    MAX_API_KEYS,
    MAX_LIFETIME,
    ExchangedApiKey,
    IssuedApiKey,
    NewApiKey,
    new_key,
)
from services.auth.errors import ApiKeyInvalid, ApiKeyNotFound, TooManyApiKeys
from services.auth.mail.model import Kind
from services.auth.revocations.model import Cause
from services.shared.audit.model import Action
from services.shared.audit.recording import record
from services.shared.errors import FieldViolation, ValidationFailed
from services.shared.ids import new_id
from services.shared.opaque_tokens import token_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.api_keys.model import ApiKey
    from services.auth.api_keys.store import ApiKeyStore
    from services.auth.confirmations.operations import ConfirmationOperations
    from services.auth.mail.operations import MailOperations
    from services.auth.revocations.operations import RevocationOperations
    from services.auth.tokens.operations import TokenOperations
    from services.shared.db import Database
    from services.shared.pagination import Page, PageTokens
    from services.shared.principal import Principal


class ApiKeyOperations:
    """Keys outlive sessions and passwords; what ends them is their expiry or their revocation.

    The access tokens of a key have its id as their session, so that one revocation ends them all.
    """

    def __init__(
        self,
        *,
        database: Database,
        store: ApiKeyStore,
        pages: PageTokens,
        confirmations: ConfirmationOperations,
        revocations: RevocationOperations,
        tokens: TokenOperations,
        mail: MailOperations,
        scopes: Sequence[str],
    ) -> None:
        """`scopes` are those that a key can have."""
        self._database = database
        self._store = store
        self._pages = pages
        self._confirmations = confirmations
        self._revocations = revocations
        self._tokens = tokens
        self._mail = mail
        self._scopes = frozenset(scopes)

    async def create_api_key(
        self,
        *,
        principal: Principal,
        name: str,
        scopes: Sequence[str],
        expire_time: datetime | None,
        password: str,
        code: str,
    ) -> IssuedApiKey:
        """Create a key of the caller's; its text is returned this once.

        Raises ValidationFailed, TooManyApiKeys; as ConfirmationOperations.confirmed.
        """
        new = self._new(name, scopes, expire_time)

        async def work(connection: AsyncConnection) -> IssuedApiKey:
            user = await self._confirmations.finish(connection, confirmation=confirmation)
            if await self._store.count_active_api_keys(connection, principal.user_id) >= MAX_API_KEYS:
                raise TooManyApiKeys(limit=MAX_API_KEYS)
            key, prefix = new_key()
            api_key = await self._store.insert_api_key(
                connection,
                api_key_id=new_id(),
                user_id=principal.user_id,
                prefix=prefix,
                key_digest=token_digest(key),
                new=new,
            )
            await record(connection, action=Action.API_KEY_CREATE, target=f"apiKeys/{api_key.id}")
            await self._mail.notify(connection, kind=Kind.API_KEY_CREATED, user=user)
            return IssuedApiKey(api_key, key)

        async with self._confirmations.confirmed(principal=principal, password=password, code=code) as confirmation:
            return await self._database.transaction(work)

    async def list_api_keys(self, *, principal: Principal, page_size: int, page_token: str) -> Page[ApiKey]:
        """Return a page of the caller's keys that were not revoked, newest first. Raises PageTokenInvalid."""
        bound_to = {"method": "ListApiKeys", "caller": principal.id}
        page = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)
        async with self._database.reading() as connection:
            found = await self._store.list_api_keys(connection, principal.user_id, page)
        return page.page(found, lambda api_key: [api_key.id])

    async def revoke_api_key(self, *, principal: Principal, api_key_id: str) -> None:
        """Revoke a key of the caller's and its access tokens. Raises ApiKeyNotFound."""

        async def work(connection: AsyncConnection) -> None:
            if not await self.end(connection, user_id=principal.user_id, api_key_id=api_key_id):
                raise ApiKeyNotFound

        await self._database.transaction(work)

    async def exchange_api_key(self, *, key: str) -> ExchangedApiKey:
        """Return an access token with the key's scopes, which lives no longer than the key. Raises ApiKeyInvalid.

        Exchanges of one key lock nothing that others wait for.
        """
        async with self._database.reading() as connection:
            used = await self._store.find_used_api_key(connection, token_digest(key))
        if used is None:
            raise ApiKeyInvalid

        async def work(connection: AsyncConnection) -> None:
            await self._store.update_last_use(connection, used.id)

        if not used.use_noted:
            await self._database.transaction(work)
        # A key that is revoked meanwhile, or a user: the revocation covers the token, which has this id and epoch.
        token = await self._tokens.issue(
            user_id=used.user_id,
            session_id=used.id,
            role=used.role,
            epoch=used.epoch,
            email_verified=used.email_verified,
            scopes=used.scopes,
            expire_time=used.expire_time,
        )
        return ExchangedApiKey(token, used.scopes)

    async def find(self, connection: AsyncConnection, *, key: str) -> ApiKey | None:
        """Return the key of this text without using it; None if it is unknown, expired or revoked."""
        return await self._store.find_active_api_key(connection, token_digest(key))

    async def end(self, connection: AsyncConnection, *, user_id: str, api_key_id: str) -> bool:
        """Revoke a user's key and its access tokens, in the caller's transaction; False if there is none."""
        revoked = await self._store.update_revoked(connection, user_id=user_id, api_key_id=api_key_id)
        if revoked:
            await self._revocations.end_session(connection, session_id=api_key_id, cause=Cause.API_KEY_REVOKED)
            target = f"apiKeys/{api_key_id}"
            await record(connection, action=Action.API_KEY_REVOKE, target=target, token_user_id=user_id)
        return revoked is not None

    def _new(self, name: str, scopes: Sequence[str], expire_time: datetime | None) -> NewApiKey:
        now = datetime.now(UTC)
        ends = now + DEFAULT_LIFETIME if expire_time is None else expire_time
        shown = PersonName.parse(name)
        violations = list(self._violations(shown, scopes, ends, now))
        if shown is None or violations:
            raise ValidationFailed(violations=violations)
        return NewApiKey(shown.text, sorted(scopes), ends)

    def _violations(
        self, shown: PersonName | None, scopes: Sequence[str], ends: datetime, now: datetime
    ) -> Iterator[FieldViolation]:
        if shown is None:
            yield FieldViolation("name", NAME_RULE)
        for number, scope in enumerate(scopes):
            if scope not in self._scopes:
                yield FieldViolation(f"scopes[{number}]", f"must be one of {', '.join(sorted(self._scopes))}")
        if not now < ends <= now + MAX_LIFETIME:
            yield FieldViolation("expireTime", f"must be in the future, and at most {MAX_LIFETIME.days} days from now")
