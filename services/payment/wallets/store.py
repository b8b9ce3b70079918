"""The SQL of wallets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, Table, Text, bindparam, cast, func, select

from services.payment.ledger.model import AccountKind
from services.payment.ledger.store import TABLES, accounts, holds
from services.payment.wallets.model import Balance, Wallet, WalletState
from services.shared.db import Id, Time

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

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
    )
    .select_from(wallets.outerjoin(accounts, _own))
    .where(wallets.c.user_id == bindparam("user_id"))
    .order_by(accounts.c.currency)
)


class WalletStore:
    """Wallets."""

    async def find_wallet(self, connection: AsyncConnection, user_id: str) -> Wallet:
        """Return the user's wallet with its balances."""
        rows = (await connection.execute(READ, {"user_id": user_id})).all()
        if not rows:
            return Wallet()
        balances = tuple(Balance(row.currency, row.posted, row.held) for row in rows if row.currency)
        return Wallet(rows[0].id, WalletState(rows[0].state), rows[0].create_time, balances)
