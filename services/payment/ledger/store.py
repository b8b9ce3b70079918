"""The tables of the ledger, and the SQL of its totals. What is posted is written by the writer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    func,
    select,
)

from services.payment.ledger.model import CurrencyTotal
from services.payment.ledger.rows import Label
from services.shared.db import Id, Time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection


TABLES = MetaData()

accounts = Table(
    "accounts",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("kind", Label, nullable=False),
    Column("owner_id", Id, nullable=False),
    Column("currency", Label, nullable=False),
    Column("stripe", SmallInteger),
    Column("state", Label, nullable=False),
    Column("posted", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("debit", Numeric, nullable=False),
    Column("credit", Numeric, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("post_time", Time),
    Column("velocity_time", Time),
    Column("velocity_debit", BigInteger, nullable=False),
    Column("velocity_count", Integer, nullable=False),
)
transactions = Table(
    "transactions",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("type", Label, nullable=False),
    Column("source_kind", Label),
    Column("source_id", Id),
    Column("reference", Text),
    Column("reference_owner", Text),
    Column("legs", SmallInteger, nullable=False),
    Column("memo_digest", LargeBinary),
    Column("create_time", Time, nullable=False),
)
memos = Table(
    "memos",
    TABLES,
    Column("transaction_id", Id, primary_key=True),
    Column("description", Text, nullable=False),
    Column("salt", LargeBinary, nullable=False),
)
entries = Table(
    "entries",
    TABLES,
    Column("account_id", Id, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("transaction_id", Id, nullable=False),
    Column("currency", Label, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("balance_after", BigInteger, nullable=False),
    Column("create_time", Time, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
holds = Table(
    "holds",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("wallet_id", Id, nullable=False),
    Column("account_id", Id, nullable=False),
    Column("creator", Text, nullable=False),
    Column("state", Label, nullable=False),
    Column("type", Label, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Label, nullable=False),
    Column("captured", BigInteger, nullable=False),
    Column("description", Text, nullable=False),
    Column("course_id", Id),
    Column("payment_id", Id),
    Column("expire_time", Time, nullable=False),
    Column("create_time", Time, nullable=False),
    Column("end_time", Time),
)

# One statement, and so one snapshot: every transaction is in it whole or not at all.
TOTALS = (
    select(
        accounts.c.currency,
        func.sum(accounts.c.debit).label("debit"),
        func.sum(accounts.c.credit).label("credit"),
        func.bool_and(accounts.c.posted == accounts.c.credit - accounts.c.debit).label("agrees"),
    )
    .group_by(accounts.c.currency)
    .order_by(accounts.c.currency)
)


def last_sequence(moment: str, *, inclusive: bool) -> str:
    """Return SQL: the number of entries of `account` before a moment, or also at it.

    By sequence and time an account's entries have one order, so it is found by bisection: an index on the time would
    be paid for by each posting.
    """
    earlier = f"middle.create_time {'<=' if inclusive else '<'} {moment}"
    return f"""(
        WITH RECURSIVE search (low, high) AS (
            SELECT CAST(0 AS bigint), account.sequence
            UNION ALL
            SELECT
                CASE WHEN {earlier} THEN middle.sequence ELSE low END,
                CASE WHEN {earlier} THEN high ELSE middle.sequence - 1 END
            FROM search JOIN entries middle
                ON middle.account_id = account.id AND middle.sequence = (low + high + 1) / 2
            WHERE low < high
        )
        SELECT max(low) FROM search WHERE low = high
    )"""  # noqa: S608 - of constants


class LedgerStore:
    """Totals of accounts."""

    async def list_totals(self, connection: AsyncConnection) -> Sequence[CurrencyTotal]:
        """Return the sums of the debits and credits of all accounts, by currency."""
        return [
            CurrencyTotal(row.currency, int(row.debit), int(row.credit), row.agrees)
            for row in await connection.execute(TOTALS)
        ]
