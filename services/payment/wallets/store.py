"""The SQL of wallets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Column, Table, Text, bindparam, cast, func, select

from services.payment.ledger.model import AccountKind, SourceKind, TransactionType
from services.payment.ledger.store import TABLES, accounts, entries, holds, memos, transactions
from services.payment.wallets.model import Balance, Movement, Wallet, WalletState
from services.shared.db import Id, Time
from services.shared.money import INT64_MAX, Money

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.pagination import PageRequest

wallets = Table(
    "wallets",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, nullable=False),
    Column("state", Text, nullable=False),
    Column("create_time", Time, nullable=False),
)

_own = (accounts.c.owner_id == wallets.c.id) & (accounts.c.kind == AccountKind.WALLET.value)
_live_holds = (
    select(cast(func.coalesce(func.sum(holds.c.amount), 0), BigInteger))
    .where(holds.c.account_id == accounts.c.id, holds.c.state == "ACTIVE", holds.c.expire_time > func.now())
    .scalar_subquery()
)
# One statement, and so one snapshot: holds and balances fit together.
READ = (
    select(
        wallets.c.id,
        wallets.c.state,
        wallets.c.create_time,
        accounts.c.currency,
        accounts.c.posted,
        _live_holds.label("held"),
        accounts.c.sequence,
    )
    .select_from(wallets.outerjoin(accounts, _own))
    .where(wallets.c.user_id == bindparam("user_id"))
    .order_by(accounts.c.currency)
)

MOVEMENTS = select(
    entries.c.sequence,
    entries.c.currency,
    entries.c.amount,
    entries.c.balance_after,
    transactions.c.id,
    transactions.c.type,
    transactions.c.source_kind,
    transactions.c.source_id,
    transactions.c.reference,
    transactions.c.create_time,
    memos.c.description,
).select_from(
    entries.join(transactions, transactions.c.id == entries.c.transaction_id).outerjoin(
        memos, memos.c.transaction_id == transactions.c.id
    )
)
# As a scalar subquery the planner sees that it is one account, and reads the page from the index, whatever came before.
_account = (
    select(accounts.c.id)
    .join_from(wallets, accounts, _own)
    .where(wallets.c.user_id == bindparam("user_id"), accounts.c.currency == bindparam("of_currency"))
    .scalar_subquery()
)
LIST = (
    MOVEMENTS.where(entries.c.account_id == _account, entries.c.sequence < bindparam("before"))
    .order_by(entries.c.sequence.desc())
    .limit(bindparam("count"))
)


class WalletStore:
    """Wallets and their movements."""

    async def find_wallet(self, connection: AsyncConnection, user_id: str) -> Wallet:
        """Return the user's wallet with its balances."""
        rows = (await connection.execute(READ, {"user_id": user_id})).all()
        if not rows:
            return Wallet()
        balances = tuple(Balance(row.currency, row.posted, row.held, row.sequence) for row in rows if row.currency)
        return Wallet(rows[0].id, WalletState(rows[0].state), rows[0].create_time, balances)

    async def list_movements(
        self, connection: AsyncConnection, request: PageRequest, user_id: str, currency: str
    ) -> Sequence[Movement]:
        """Return one movement of a currency more than the page holds, newest first."""
        before = request.cursor[0] if request.cursor else INT64_MAX
        values = {"user_id": user_id, "of_currency": currency, "count": request.limit, "before": before}
        return [_movement(row) for row in await connection.execute(LIST, values)]


def _movement(row: Row[*tuple[Any, ...]]) -> Movement:
    return Movement(
        id=row.id,
        sequence=row.sequence,
        type=TransactionType(row.type),
        amount=Money(row.amount, row.currency),
        balance_after=Money(row.balance_after, row.currency),
        create_time=row.create_time,
        description=row.description or "",
        payment_id=row.source_id if row.source_kind == SourceKind.PAYMENT else "",
        reference=row.reference or "",
    )
