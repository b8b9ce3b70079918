"""One group: its commands decided under their locks, written and committed together."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.payment.ledger import writing
from services.payment.ledger.book import Book
from services.payment.ledger.loading import Loader
from services.payment.ledger.pending import decide
from services.shared.ids import new_id
from services.shared.jobs import ENQUEUE, enqueue_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.payment.ledger.loading import Loaded
    from services.payment.ledger.model import Owner
    from services.payment.ledger.pending import Identity, Outcome, Pending, Record
    from services.payment.ledger.rows import Kind
    from services.payment.ledger.session import Session
    from services.shared.outbox import Outbox

SALT_BYTES = 16


@dataclass(slots=True)
class Result:
    """What became of a group."""

    outcomes: list[tuple[Pending, Outcome]] = field(default_factory=list)
    """What is committed, or refused."""
    skipped: list[tuple[Pending, str]] = field(default_factory=list)
    """Commands that were left out, with the account that someone else holds locked."""
    dropped: list[Pending] = field(default_factory=list)
    """Commands whose callers had gone away when the locks were held."""
    outdated: list[Pending] = field(default_factory=list)
    """Commands for another group: of users whose wallets were opened elsewhere meanwhile, so that their accounts are to
    be looked up again, and of accounts with more expired rows than one group takes."""


class Committer:
    """Commits groups. `kinds` are the kinds of rows that commands read and write."""

    def __init__(self, kinds: Sequence[Kind[Any]], outbox: Outbox) -> None:
        self._kinds = tuple(kinds)
        self._outbox = outbox
        self._loader = Loader(kinds)

    async def resolve(self, session: Session, group: Sequence[Pending]) -> dict[str, Owner]:
        """Find out which accounts the commands of a group need. Return the wallets of its users, for `commit`.

        Raises the driver's errors.
        """
        return await self._loader.resolve(session, group)

    async def commit(
        self, session: Session, group: Sequence[Pending], owners: dict[str, Owner], *, wait_for: Sequence[str] = ()
    ) -> Result:
        """Decide a resolved group in its order and commit it, after waiting for the locks of accounts, if asked to.

        Raises the driver's errors; the transaction is then open still, or unknown if it was committing.
        """
        if not group:
            return Result()
        await session.begin(wait_for)
        loaded = await self._loader.load(session, group, owners)
        result, committed = Result(), []
        for pending in group:
            pending.locked = tuple(account_id for account_id in pending.accounts if account_id in loaded.unlocked)
            if pending.abandoned:
                result.dropped.append(pending)
            elif not (loaded.opened.isdisjoint(pending.needs.users) and loaded.expiring.isdisjoint(pending.accounts)):
                result.outdated.append(pending)
            elif pending.locked:
                result.skipped.append((pending, pending.locked[0]))
            else:
                committed.append(pending)
        book = Book(
            loaded.changes,
            now=loaded.now,
            new_id=new_id,
            new_salt=lambda: os.urandom(SALT_BYTES),
            stripe=session.stripe,
            states=loaded.states,
            expired=loaded.expired,
        )
        result.outcomes = [
            (pending, decide(book, pending, loaded.records.get(pending.identity) if pending.identity else None))
            for pending in committed
        ]
        await self._write(session, book, loaded, result)
        return result

    async def _write(self, session: Session, book: Book, loaded: Loaded, result: Result) -> None:
        changed = book.changed
        published = self._outbox.rows(changed.events)
        statement, parameters = writing.statement(
            loaded.changes,
            changed,
            records=_records(loaded, result),
            published=published,
            kinds=self._kinds,
        )
        if not statement:
            await session.rollback()
            return
        await session.write(statement, parameters)
        for job in changed.jobs:
            await session.write(ENQUEUE, enqueue_values(job.payload, delay=job.delay, once=job.once))
        await session.commit()
        self._loader.remember(changed.owners.values())
        self._outbox.wake(published)


def _records(loaded: Loaded, result: Result) -> dict[Identity, tuple[Record, bool]]:
    """Return what each key keeps from now on, and whether it was claimed before."""
    records: dict[Identity, tuple[Record, bool]] = {}
    for pending, outcome in result.outcomes:
        identity, record = pending.identity, outcome.record
        if identity is not None and record is not None and not outcome.replayed and not pending.quote:
            claimed = identity in loaded.records
            if record.answered or not claimed:
                records[identity] = record, claimed
    return records
