"""Writers of the ledger on one database, each as in a replica of its own, without gRPC."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
from google.protobuf.wrappers_pb2 import StringValue

from services.payment.app import EVENTS, KINDS
from services.payment.holds.commands import CreateHold
from services.payment.holds.model import Hold, Order, PaymentType
from services.payment.ledger.book import Command, Needs
from services.payment.ledger.model import AccountKey
from services.payment.ledger.writer import MAX_WAITING, Writer
from services.payment.payments.commands import CaptureHold, CreatePayment, Earn
from services.payment.payments.model import Earning
from services.shared.db import Database
from services.shared.errors import DomainError
from services.shared.idempotency import Idempotent
from services.shared.ids import new_id
from services.shared.money import Money
from services.shared.outbox import Outbox
from tests.support.chains import broken_chains
from tests.support.database_proxy import database_proxy
from tests.support.sql import run_sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from services.payment.ledger.book import Book
    from tests.support.database_proxy import DatabaseProxy
    from tests.support.postgres import Clone

WINDOW = timedelta(days=14)
FINAL = b"Z"
"""Of the answer to COMMIT: ready for the next statement."""
SESSIONS = "pid FROM pg_stat_activity WHERE application_name = 'azora-ledger' AND datname = current_database()"
"""Backends of writers."""


def keyed(key: str = "", *, principal: str = "user:1", request: str = "") -> Idempotent[Any, StringValue]:
    """Return a keyed call, answered by the id of what it made."""
    return Idempotent(
        principal_id=principal,
        method="Test",
        key=key or new_id(),
        fingerprint=hashlib.sha256(request.encode()).digest(),
        encode=lambda effect: StringValue(value=effect.id),
        decode=StringValue.FromString,
    )


@dataclass(frozen=True)
class Scripted(Command[Hold]):
    """Does what it is told to in a payer's wallet."""

    user_id: str
    script: Callable[[Book], Any]
    postings: int = 1

    @property
    def needs(self) -> Needs:
        """The wallet."""
        return Needs(users=(self.user_id,), currencies=("AZR",), postings=self.postings)

    def decide(self, book: Book) -> Any:
        """Follow the script."""
        return self.script(book)


@dataclass(frozen=True)
class LedgerReplica:
    """One process's writer, and short words for its commands."""

    database: Database
    writer: Writer

    async def pay(self, user_id: str, minor: int = 1, *, key: str = "", request: str = "") -> str:
        """Pay; return the payment's ID."""
        command = CreatePayment(user_id, "", Order(PaymentType.DONATION, Money(minor)), WINDOW)
        return (await self.writer.answer(command, keyed(key, request=request))).value

    async def earn(self, user_id: str, minor: int, reference: str = "", *, key: str = "") -> str:
        """Earn; return the transaction's ID."""
        command = Earn(Earning(user_id, Money(minor), reference or new_id(), ""), "education")
        return (await self.writer.answer(command, keyed(key))).value

    async def hold(self, user_id: str, minor: int) -> Hold:
        """Hold an amount."""
        order = Order(PaymentType.DONATION, Money(minor))
        return await self.writer.run(CreateHold(user_id, "", order, timedelta(minutes=1)))

    async def capture(self, hold: Hold) -> str:
        """Capture a hold; return the payment's ID."""
        _, payment = await self.writer.run(CaptureHold(hold.id, hold.payer.user_id, "", None, WINDOW))
        return payment.id


@dataclass(frozen=True)
class Ledgers:
    """Two replicas on one database."""

    one: LedgerReplica
    two: LedgerReplica
    clone: Clone

    async def rich(self, minor: int = 1000) -> str:
        """Return a user who has earned this much."""
        user_id = new_id()
        await self.one.earn(user_id, minor)
        return user_id

    async def posted(self, user_id: str) -> int:
        """Return the balance of a user's wallet."""
        (row,) = await self.sql(
            "SELECT coalesce(sum(posted), 0)::bigint FROM accounts JOIN wallets ON wallets.id = owner_id"
            " WHERE user_id = $1",
            user_id,
        )
        return int(row[0])

    async def sql(self, statement: str, *arguments: object, app: bool = False) -> list[asyncpg.Record]:
        """Run a statement as the database's owner, or as the writers do."""
        return await run_sql(self.clone.app_url if app else self.clone.owner_url, statement, *arguments)

    @asynccontextmanager
    async def connection(self, *, app: bool = False) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """Give a connection of the owner's, or of the writers' role."""
        url = self.clone.app_url if app else self.clone.owner_url
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def stalled(self, lock: str = "LOCK TABLE idempotency_records IN EXCLUSIVE MODE") -> AsyncIterator[None]:
        """Hold a lock that groups wait for when they write."""
        async with self.connection() as connection, connection.transaction():
            await connection.execute(lock)
            yield

    async def waiting(self) -> bool:
        """Whether a writer waits for a lock."""
        return bool(await self.sql(f"SELECT {SESSIONS} AND wait_event_type = 'Lock'", app=True))

    async def terminate(self) -> None:
        """End the sessions of all writers."""
        await self.sql(f"SELECT pg_terminate_backend(pid) FROM (SELECT {SESSIONS}) AS writers", app=True)  # noqa: S608

    async def sound(self) -> None:
        """Check what must hold at any time, by SQL of the test's own."""
        assert not await self.sql("SELECT FROM entries GROUP BY currency HAVING sum(amount) <> 0")
        assert not await self.sql("""
            SELECT a.id FROM accounts a LEFT JOIN entries e ON e.account_id = a.id GROUP BY a.id
            HAVING (a.posted, a.sequence, a.credit, a.debit) IS DISTINCT FROM (coalesce(sum(e.amount), 0), count(e.*),
                coalesce(sum(e.amount) FILTER (WHERE e.amount > 0), 0),
                coalesce(-sum(e.amount) FILTER (WHERE e.amount < 0), 0))
        """)
        assert not await self.sql("""
            SELECT a.id FROM accounts a LEFT JOIN holds h ON h.account_id = a.id AND h.state = 'ACTIVE'
            GROUP BY a.id HAVING a.held <> coalesce(sum(h.amount), 0)
        """)
        async with self.connection() as connection:
            assert not await broken_chains(connection)


async def verdict(call: Awaitable[object]) -> str:
    """Return OK, or the reason of a refusal, or the name of an error."""
    try:
        await call
    except DomainError as error:
        return error.reason
    except Exception as error:  # noqa: BLE001 - of any kind
        return type(error).__name__
    return "OK"


async def verdicts(*calls: Awaitable[object]) -> Counter[str]:
    """Return how often calls at once end in each way."""
    return Counter(await asyncio.gather(*map(verdict, calls)))


def purse(book: Book, user_id: str) -> AccountKey:
    """Return the account of a user's wallet."""
    owner = book.owner(user_id)
    assert owner is not None
    return AccountKey.wallet(owner.id, "AZR")


def replica(url: str, *, max_waiting: int = MAX_WAITING) -> LedgerReplica:
    """Return a replica on a database."""
    database = Database(url)
    return LedgerReplica(database, Writer(database, KINDS, Outbox("payment", EVENTS), max_waiting=max_waiting))


@asynccontextmanager
async def running_ledgers(clone: Clone) -> AsyncIterator[Ledgers]:
    """Give two replicas."""
    one, two = replica(clone.app_url), replica(clone.app_url)
    try:
        yield Ledgers(one, two, clone)
    finally:
        await one.database.close()
        await two.database.close()


@asynccontextmanager
async def proxied(clone: Clone) -> AsyncIterator[tuple[LedgerReplica, DatabaseProxy]]:
    """Give a replica behind a proxy of its database."""
    async with database_proxy(clone.app_url) as (url, proxy):
        through = replica(url)
        try:
            yield through, proxy
        finally:
            await through.database.close()
