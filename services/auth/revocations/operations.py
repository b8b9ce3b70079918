"""Revocation of access tokens, and the list of revocations that every service polls."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from services.auth.revocations.model import KEEPS_SESSIONS, Cause
from services.shared.ids import new_id
from services.shared.revocations import RevokedPage
from services.shared.tokens import TOKEN_LIFE

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.revocations.store import RevocationStore
    from services.shared.db import Database
    from services.shared.pagination import PageTokens

COMMIT_WINDOW = timedelta(seconds=12)
"""Rows become visible when they commit, after their create_time: a poll goes back behind the one before by this much.
No transaction that revokes lasts as long: PostgreSQL ends it half a second after its RPC's timeout, of 10 s at most, or
after `COMMAND_SECONDS`."""
COMMAND_SECONDS = 10.0
"""Maximum duration of a command's transaction that revokes: a command has no deadline, and may be stopped for long."""
LIST_PAGE_SIZE = 250
"""A page takes some milliseconds of the event loop, in which no other call goes on."""
NO_ID = "00000000-0000-0000-0000-000000000000"


class RevocationOperations:
    """Ends sessions, tokens of users and tokens of keys. One cause is one row, in the transaction of its cause."""

    def __init__(self, *, database: Database, store: RevocationStore, pages: PageTokens) -> None:
        self._database = database
        self._store = store
        self._pages = pages

    async def end_session(self, connection: AsyncConnection, *, session_id: str, cause: Cause) -> bool:
        """End a session with its refresh tokens, and revoke its access tokens; False for one that has ended.

        An API key is one, too: its id is the session of its tokens.
        """
        ended = await self._store.update_session(connection, session_id)
        await self._store.insert_revocation(connection, revocation_id=new_id(), cause=cause, session_id=session_id)
        return ended

    async def end_user(
        self, connection: AsyncConnection, *, user_id: str, cause: Cause, except_session_id: str | None = None
    ) -> None:
        """Raise the user's epoch, which revokes their access tokens, and end their sessions.

        The tokens of `except_session_id` stay valid, and that session goes on. A cause in `KEEPS_SESSIONS` ends no
        session. A user who does not exist has nothing to end. Call it before what it is the cause of: it waits for
        sign-ins of the user that are about to commit.
        """
        epoch = await self._store.update_epoch(connection, user_id)
        if epoch is None:
            return
        if cause not in KEEPS_SESSIONS:
            await self._store.update_sessions(connection, user_id, except_id=except_session_id)
        await self._store.insert_revocation(
            connection,
            revocation_id=new_id(),
            cause=cause,
            user_id=user_id,
            before_epoch=epoch,
            except_session_id=except_session_id,
        )

    async def end_key(self, connection: AsyncConnection, *, key_id: str) -> None:
        """Revoke all access tokens that a signing key (`kid`) has signed."""
        await self._store.insert_revocation(
            connection, revocation_id=new_id(), cause=Cause.SIGNING_KEY_REVOKED, key_id=key_id
        )

    async def is_revoked(
        self, connection: AsyncConnection, *, session_id: str, user_id: str, epoch: int, key_id: str
    ) -> bool:
        """Whether an access token with these claims, signed by this key, was revoked."""
        return await self._store.is_revoked(
            connection, session_id=session_id, user_id=user_id, epoch=epoch, key_id=key_id
        )

    async def list_revocations(self, *, since: datetime | None, page_token: str) -> RevokedPage:
        """Return what was revoked since `COMMIT_WINDOW` before a time of the database; None: a whole token life ago.

        Raises PageTokenInvalid, DependencyUnavailable.
        """
        bound_to = {"method": "ListRevocations", "since": since and since.isoformat()}
        request = self._pages.request(
            page_size=LIST_PAGE_SIZE, page_token=page_token, bound_to=bound_to, max_page_size=LIST_PAGE_SIZE
        )
        async with self._database.reading() as connection:
            # Read first: what commits between the two statements is listed now or, by its time, next.
            now = await self._store.find_time(connection)
            if request.cursor is None:
                after_time, after_id = (now - TOKEN_LIFE if since is None else since) - COMMIT_WINDOW, NO_ID
            else:
                time, after_id = request.cursor
                after_time = datetime.fromisoformat(time)
            found = await self._store.list_revocations(
                connection, after_time=after_time, after_id=after_id, limit=request.limit
            )
        page = request.page(found, lambda revocation: [revocation.create_time.isoformat(), revocation.id])
        return RevokedPage([revocation.revoked for revocation in page.items], page.next_page_token, now)
