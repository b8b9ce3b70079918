"""The SQL of transfers: they are transactions of the ledger, and have no table of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, select

from services.payment.ledger.model import SourceKind, TransactionType
from services.payment.ledger.rows import Kind
from services.payment.ledger.store import accounts, entries, memos, transactions
from services.payment.transfers.model import TargetWallet, Transfer
from services.payment.wallets.model import Payer
from services.payment.wallets.store import wallets
from services.shared.money import Money

if TYPE_CHECKING:
    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

_debit, _credit = entries.alias("debit"), entries.alias("credit")
_debited, _credited = accounts.alias("debited"), accounts.alias("credited")
_payer, _target = wallets.alias("payer"), wallets.alias("target")

FIND_TRANSFER = (
    select(
        transactions.c.id,
        transactions.c.source_kind,
        transactions.c.source_id,
        transactions.c.create_time,
        memos.c.description,
        _credit.c.amount,
        _credit.c.currency,
        _payer.c.id.label("payer_wallet_id"),
        _payer.c.user_id.label("payer_user_id"),
        _target.c.id.label("target_wallet_id"),
        _target.c.user_id.label("target_user_id"),
    )
    .select_from(
        transactions.join(_debit, (_debit.c.transaction_id == transactions.c.id) & (_debit.c.amount < 0))
        .join(_debited, _debited.c.id == _debit.c.account_id)
        .join(_payer, _payer.c.id == _debited.c.owner_id)
        .join(_credit, (_credit.c.transaction_id == transactions.c.id) & (_credit.c.amount > 0))
        .join(_credited, _credited.c.id == _credit.c.account_id)
        .join(_target, _target.c.id == _credited.c.owner_id)
        .outerjoin(memos, memos.c.transaction_id == transactions.c.id)
    )
    .where(transactions.c.id == bindparam("transfer_id"), transactions.c.type == TransactionType.TRANSFER.value)
)


class TransferStore:
    """Posted transfers."""

    async def find_transfer(self, connection: AsyncConnection, transfer_id: str) -> Transfer | None:
        """Return a transfer, or None."""
        row = (await connection.execute(FIND_TRANSFER, {"transfer_id": transfer_id})).first()
        return _transfer(row) if row else None


def _transfer(row: Row[*tuple[Any, ...]]) -> Transfer:
    return Transfer(
        id=row.id,
        payer=Payer(row.payer_user_id, row.payer_wallet_id),
        target=TargetWallet(row.target_wallet_id, row.target_user_id),
        amount=Money(row.amount, row.currency),
        description=row.description or "",
        create_time=row.create_time,
        batch_id=row.source_id if row.source_kind == SourceKind.TRANSFER_BATCH else "",
    )


TARGET_WALLETS = Kind(
    type=TargetWallet,
    select="SELECT id, user_id FROM wallets WHERE id = ANY({keys}::uuid[])",
    read=lambda row: TargetWallet(str(row[0]), str(row[1])),
)
