"""A writer's connection: a session of its own, which holds a stripe of the system accounts."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from services.payment.ledger.model import STRIPES
from services.payment.ledger.rows import array
from services.shared.connections import DRIVER_ERRORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.shared.db import Database

STATEMENT_TIMEOUT_SECONDS = 2
COMMAND_TIMEOUT_SECONDS = 3.0
"""When a database that does not answer is given up: after it would have ended the statement itself."""
LOCK_TIMEOUT_SECONDS = 0.5
"""How long a lane waits at once. It counts twice, behind another one that waits and then for whoever holds the lock."""
IDLE_TIMEOUT_SECONDS = 1
"""When the database ends the session of a writer that stopped within a transaction: it holds the locks of others."""
TRANSACTION_TIMEOUT_SECONDS = 4
"""When the database ends it wherever it stands: a writer that stopped while it prepared a statement is not idle."""
PLANS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
"""Every statement looks up by key, so one plan is best for all parameters, and planning costs more than running it."""
PLAN_SECONDS = 30
STRIPE_LOCK = 0x617A7374
"""First key of the advisory locks of stripes ("azst"); the second is the stripe."""

TAKE_STRIPE = """
SELECT stripe FROM unnest($2::integer[]) AS stripe WHERE pg_try_advisory_lock($1, stripe) LIMIT 1
"""

WAIT = "SELECT FROM accounts WHERE id = ANY($1::text::uuid[]) ORDER BY id FOR NO KEY UPDATE"
"""Nothing is locked before it, and all wait in one order: so nobody waits in a circle."""


@dataclass(slots=True)
class Session:
    """A connection and its stripe. The stripe is lost with the connection."""

    connection: asyncpg.Connection[asyncpg.Record]
    stripe: int
    shared: bool
    """Whether every stripe was taken, so that this one is another writer's too."""
    transactions: int = 0
    """How many were begun."""
    plan_time: float = 0
    """When plans were made anew, on the system's monotonic clock."""
    wrote: bool = False
    """Whether the transaction has written anything."""
    committing: bool = False
    """Whether COMMIT was sent."""

    @classmethod
    async def open(cls, database: Database) -> Session:
        """Connect and take a stripe. Raises DependencyUnavailable."""
        connection = await database.connect(
            timeout_seconds=COMMAND_TIMEOUT_SECONDS,
            application_name="azora-ledger",
            statement_timeout=f"{STATEMENT_TIMEOUT_SECONDS}s",
            idle_in_transaction_session_timeout=f"{IDLE_TIMEOUT_SECONDS}s",
            transaction_timeout=f"{TRANSACTION_TIMEOUT_SECONDS}s",
            **PLANS,
        )
        stripes = random.sample(range(STRIPES), STRIPES)
        try:
            stripe: int | None = await connection.fetchval(TAKE_STRIPE, STRIPE_LOCK, stripes)
        except (*DRIVER_ERRORS, OSError, TimeoutError) as error:
            connection.terminate()
            raise database.named(error) from None
        return cls(connection, stripes[0] if stripe is None else stripe, shared=stripe is None)

    async def begin(self, wait_for: Sequence[str] = ()) -> None:
        """Begin a transaction, and wait for a while for the locks of accounts. Raises LockNotAvailableError."""
        await self._plan()
        await self.connection.execute("BEGIN")
        if wait_for:
            await self.connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
            await self.connection.execute(WAIT, array(wait_for, "uuid"))

    async def _plan(self) -> None:
        """Have plans made anew from time to time: those of small tables read them whole, and tables grow.

        By count they are made again whenever the number of transactions has doubled, so that the tables have not grown
        much faster; by time, because other writers let them grow too.
        """
        self.transactions += 1
        now = time.monotonic()
        if not self.transactions & (self.transactions - 1) or now - self.plan_time > PLAN_SECONDS:
            self.plan_time = now
            await self.connection.execute("DISCARD PLANS")

    async def write(self, statement: str, parameters: Sequence[Any]) -> None:
        """Execute a statement that writes."""
        self.wrote = True
        await self.connection.execute(statement, *parameters)

    async def commit(self) -> None:
        """Commit. Raises the driver's errors; the outcome is then `unknown`, or nothing has happened."""
        if self.closed:
            raise asyncpg.InterfaceError("the connection was lost before COMMIT was sent")
        self.committing = True
        try:
            await self.connection.execute("COMMIT")
        except asyncpg.InternalClientError as error:
            # PostgreSQL had ended the session, and asyncpg has yet to read that: it raises this before it sends.
            self.committing = not str(error).startswith("cannot switch to state")
            raise

    async def rollback(self) -> None:
        """End the transaction without a trace, if the connection is still there."""
        if not self.connection.is_closed():
            await self.connection.execute("ROLLBACK")

    @property
    def closed(self) -> bool:
        """Whether the connection was lost."""
        return bool(self.connection.is_closed())

    @property
    def unknown(self) -> bool:
        """Whether COMMIT was sent, and the connection lost before its answer."""
        return self.committing and self.closed

    def close(self) -> None:
        """Give the connection up, whatever it is doing."""
        self.connection.terminate()
