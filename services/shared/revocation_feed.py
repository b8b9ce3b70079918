"""Polling of Auth's revocations, by every replica of every service each second."""

from __future__ import annotations

import asyncio
import logging
import time
from contextvars import Context
from typing import TYPE_CHECKING

from azora.auth.v1 import internal_service_pb2 as pb

from services.shared.convert import timestamp, to_time
from services.shared.revocations import Revoked, RevokedPage

if TYPE_CHECKING:
    from datetime import datetime

    from services.shared.outbox import Channel
    from services.shared.revocations import RevocationSource
    from services.shared.tokens import Revocations

logger = logging.getLogger(__name__)

LIST_REVOCATIONS = f"/{pb.DESCRIPTOR.services_by_name['InternalService'].full_name}/ListRevocations"
POLL_SECONDS = 1.0
ANSWER_SECONDS = 2.0
"""Maximum time to wait for one page."""
BEGIN_SECONDS = 0.2
"""Pause between attempts before the first response: Auth or Envoy may be starting at the same time."""
SILENT = logging.WARNING, "revocations unavailable; using the last known state"
ANSWERS = logging.INFO, "revocations available again"


class RemoteRevocations:
    """Auth's revocations over the mesh."""

    def __init__(self, channel: Channel) -> None:
        self._call = channel.unary_unary(
            LIST_REVOCATIONS,
            request_serializer=pb.ListRevocationsRequest.SerializeToString,
            response_deserializer=pb.ListRevocationsResponse.FromString,
        )

    async def list_revocations(self, *, since: datetime | None, page_token: str) -> RevokedPage:
        """Return a page. Raises DependencyUnavailable."""
        request = pb.ListRevocationsRequest(since=timestamp(since), page_token=page_token)
        response = await self._call(request, timeout=ANSWER_SECONDS)
        return RevokedPage(
            [_revoked(revocation) for revocation in response.revocations],
            response.next_page_token,
            to_time(response.database_time, field="databaseTime"),
        )


class RevocationFeed:
    """Keeps `Revocations` up to date.

    A poll is complete when its last page was read; only then the next one begins at its time. So nothing is missed
    whatever fails, and what is listed twice changes nothing.
    """

    def __init__(self, source: RevocationSource, revocations: Revocations) -> None:
        self._source = source
        self._revocations = revocations
        self._since: datetime | None = None
        self._current_at = float("-inf")
        self._failed = False
        self._polling: asyncio.Task[None] | None = None

    @property
    def age_seconds(self) -> float:
        """Age of the known revocations in seconds; infinite before the first response."""
        return time.monotonic() - self._current_at

    @property
    def answered(self) -> bool:
        """Whether revocations were ever read."""
        return self._since is not None

    @property
    def tried(self) -> bool:
        """Whether a poll has ended, with an answer or without."""
        return self.answered or self._failed

    async def first(self) -> None:
        """Wait for the first response; start a poll if none is running and the last one did not fail."""
        if self._polling is None and not self._failed:
            self._poll()
        if self._polling is not None:
            await asyncio.shield(self._polling)

    async def run(self) -> None:
        """Poll until cancelled."""
        try:
            while True:
                await asyncio.shield(self._poll())
                await asyncio.sleep(POLL_SECONDS if self.answered else min(BEGIN_SECONDS, POLL_SECONDS))
        finally:
            if self._polling is not None:
                self._polling.cancel()

    def _poll(self) -> asyncio.Task[None]:
        if self._polling is None:
            # In a context of its own: it serves all calls, and must not end by the deadline of the one that began it.
            self._polling = asyncio.get_running_loop().create_task(self._read(), context=Context())
        return self._polling

    async def _read(self) -> None:
        try:
            await self._read_pages()
            self._report(failed=False)
        except Exception as error:  # noqa: BLE001 - whatever the source raises, the last state stays good for a while
            self._report(failed=True, error=type(error).__name__)
        finally:
            self._polling = None

    async def _read_pages(self) -> None:
        asked_at, since = time.monotonic(), self._since
        page = await self._source.list_revocations(since=since, page_token="")
        first = page
        self._apply(page)
        while page.next_page_token:
            page = await self._source.list_revocations(since=since, page_token=page.next_page_token)
            self._apply(page)
        self._since, self._current_at = first.database_time, asked_at

    def _apply(self, page: RevokedPage) -> None:
        for revoked in page.items:
            if revoked.session_id:
                self._revocations.revoke_session(revoked.session_id)
            elif revoked.user_id:
                self._revocations.revoke_user(
                    revoked.user_id, before_epoch=revoked.before_epoch, except_session_id=revoked.except_session_id
                )
            elif revoked.key_id:
                self._revocations.revoke_key(revoked.key_id)

    def _report(self, *, failed: bool, error: str = "") -> None:
        if failed is not self._failed:
            logger.log(*(SILENT if failed else ANSWERS), extra={"error": error} if error else None)
        self._failed = failed


def _revoked(revocation: pb.Revocation) -> Revoked:
    user = revocation.user
    return Revoked(
        session_id=revocation.session_id,
        user_id=user.user_id,
        before_epoch=user.before_epoch,
        except_session_id=user.except_session_id,
        key_id=revocation.key_id,
    )
