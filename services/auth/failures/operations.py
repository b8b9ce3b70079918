"""Counting of failed attempts, before anything is hashed or compared."""

from __future__ import annotations

import hashlib
import hmac
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from services.auth.errors import TooManyFailedAttempts
from services.auth.failures.model import Attempt, SubjectKind
from services.shared.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.failures.model import CountedFailure, FailureLimit, Subject
    from services.auth.failures.store import FailureStore
    from services.shared.db import Database


class FailureOperations:
    """Counts each attempt as a failure before its password or code is looked at, and takes it back if it succeeds.

    Attempts that run at once are so never more than are allowed one after another. Those that come during a wait are
    refused and not counted: a wait ends by itself, whoever goes on guessing. The database holds digests of addresses.
    """

    def __init__(
        self, *, database: Database, store: FailureStore, key: bytes, limits: Mapping[SubjectKind, FailureLimit]
    ) -> None:
        self._database = database
        self._store = store
        self._key = key
        self._limits = dict(limits)

    async def begin(self, *, subjects: Sequence[Subject]) -> Attempt:
        """Count an attempt for each subject, and commit it. Raises TooManyFailedAttempts while one has to wait."""

        async def work(connection: AsyncConnection) -> Attempt:
            return await self.count(connection, subjects=subjects)

        return await self._database.transaction(work)

    async def count(self, connection: AsyncConnection, *, subjects: Sequence[Subject]) -> Attempt:
        """Do the same in the caller's transaction, which must commit whether the attempt succeeds or not."""
        counted = []
        # In one order, so that attempts on the same subjects never wait for each other in a circle.
        for digest, subject in sorted((self._digest(subject), subject) for subject in {*subjects}):
            failure = await self._store.update_failures(
                connection, digest, subject=subject, limit=self._limits[subject.kind]
            )
            if failure is None:
                seconds = await self._store.find_wait_seconds(connection, digest)
                raise TooManyFailedAttempts(retry_after_seconds=max(1.0, seconds))
            counted.append(failure)
        return Attempt(tuple(counted))

    async def withdraw(self, *, attempt: Attempt) -> None:
        """Take back an attempt that was not decided, and commit that."""

        async def work(connection: AsyncConnection) -> None:
            await self.undo(connection, attempt=attempt)

        await self._database.transaction(work)

    @asynccontextmanager
    async def settled(self, *, attempt: Attempt, failed_by: tuple[type[Exception], ...] = ()) -> AsyncIterator[None]:
        """Withdraw the attempt if the block raises an error other than `failed_by`, which are failures of the attempt.

        An attempt that is cancelled stays counted.
        """
        try:
            yield
        except failed_by:
            raise
        except Exception:
            with suppress(DomainError):  # What went wrong first is what the caller is told.
                await self.withdraw(attempt=attempt)
            raise

    async def undo(self, connection: AsyncConnection, *, attempt: Attempt) -> None:
        """Take back an attempt that was no failure; earlier failures stay counted."""
        for digest, counted in self._sorted(attempt):
            await self._store.update_undone(connection, digest, counted)

    async def succeed(self, connection: AsyncConnection, *, attempt: Attempt, fully: bool = True) -> None:
        """Take back an attempt that succeeded, and forget the earlier failures of all that is the user's.

        An address keeps them: who guesses at others' accounts has one of their own, too. So does a device whose user
        has not signed in `fully`: its passwords and its codes are counted together.
        """
        kept = {SubjectKind.ADDRESS} if fully else {SubjectKind.ADDRESS, SubjectKind.DEVICE}
        for digest, counted in self._sorted(attempt):
            if counted.subject.kind in kept:
                await self._store.update_undone(connection, digest, counted)
            else:
                await self._store.delete_failures(connection, digest)

    async def clear(self, connection: AsyncConnection, *, subjects: Sequence[Subject]) -> None:
        """Forget the failures of each subject."""
        for digest in sorted(map(self._digest, subjects)):
            await self._store.delete_failures(connection, digest)

    async def find_wait_end(self, connection: AsyncConnection, *, subjects: Sequence[Subject]) -> datetime | None:
        """Return the end of the longest wait of the subjects; None if none has to wait."""
        return await self._store.find_wait_end(connection, [*map(self._digest, subjects)])

    def _sorted(self, attempt: Attempt) -> list[tuple[bytes, CountedFailure]]:
        return sorted(
            ((self._digest(counted.subject), counted) for counted in attempt.counted), key=lambda pair: pair[0]
        )

    def _digest(self, subject: Subject) -> bytes:
        return hmac.digest(self._key, f"{subject.kind}:{subject.name}".encode(), hashlib.sha256)
