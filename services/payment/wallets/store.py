"""The SQL of wallets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import BigInteger, Column, Table, Text, bindparam, cast, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from services.payment.ledger.model import AccountKind, AccountState
from services.payment.ledger.rows import Kind, Label, columns_of
from services.payment.ledger.store import TABLES, accounts, holds, last_sequence
from services.payment.wallets.model import Balance, StateChange, Wallet, WalletStatus
from services.shared.db import Id, Time
from services.shared.personal_data import list_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

wallets = Table(
    "wallets",
    TABLES,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, nullable=False),
    Column("state", Label, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("create_time", Time, nullable=False),
)
state_changes = Table(
    "wallet_state_changes",
    TABLES,
    Column("wallet_id", Id, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("state", Label, nullable=False),
    Column("actor_id", Id, nullable=False),
    Column("reason", Text, nullable=False),
    Column("change_time", Time, nullable=False),
)

_own = (accounts.c.owner_id == wallets.c.id) & (accounts.c.kind == AccountKind.WALLET.value)
_last_change = (state_changes.c.wallet_id == wallets.c.id) & (state_changes.c.sequence == wallets.c.revision)
_live_holds = (
    select(cast(func.coalesce(func.sum(holds.c.amount), 0), BigInteger))
    .where(holds.c.account_id == accounts.c.id, holds.c.state == "ACTIVE", holds.c.expire_time > func.now())
    .scalar_subquery()
)
# One statement, and so one snapshot: holds and balances fit together.
_read = (
    select(
        wallets.c.id,
        wallets.c.user_id,
        wallets.c.create_time,
        wallets.c.state,
        state_changes.c.sequence.label("change"),
        state_changes.c.state.label("changed"),
        state_changes.c.actor_id,
        state_changes.c.reason,
        state_changes.c.change_time,
        accounts.c.currency,
        accounts.c.posted,
        _live_holds.label("held"),
        accounts.c.sequence,
    )
    .select_from(wallets.outerjoin(accounts, _own).outerjoin(state_changes, _last_change))
    .order_by(accounts.c.currency)
)
READ_OWN = _read.where(wallets.c.user_id == bindparam("user_id"))
READ = _read.where(wallets.c.id == bindparam("wallet_id"))
# A hold lives for 7 days at most (CreateHoldRequest). One that an older version released has no time of its end, and is
# taken to have ended at once.
READ_PAST = text(f"""
WITH found AS (
    SELECT * FROM wallets
    WHERE (id = CAST(:wallet_id AS uuid) OR user_id = CAST(:user_id AS uuid)) AND create_time <= :read_time
), past AS MATERIALIZED (
    SELECT account.id, account.currency, {last_sequence(":read_time", inclusive=True)} AS sequence
    FROM found JOIN accounts account ON account.owner_id = found.id AND account.kind = 'WALLET'
)
SELECT found.id, found.user_id, found.create_time,
    coalesce(change.state, CASE WHEN found.revision = 0 THEN found.state ELSE 'ACTIVE' END) AS state,
    change.sequence AS change, change.state AS changed, change.actor_id, change.reason, change.change_time,
    balances.currency, balances.posted, balances.held, balances.sequence,
    :read_time <= now() - interval '5 seconds' AS settled
FROM (SELECT) AS one
    LEFT JOIN found ON true
    LEFT JOIN LATERAL (
        SELECT * FROM wallet_state_changes
        WHERE wallet_id = found.id AND change_time <= :read_time ORDER BY sequence DESC LIMIT 1
    ) AS change ON true
    LEFT JOIN (
        SELECT past.currency, entries.balance_after AS posted, entries.sequence, (
            SELECT CAST(coalesce(sum(holds.amount), 0) AS bigint) FROM holds
            WHERE holds.account_id = past.id AND holds.expire_time > :read_time
                AND holds.create_time <= :read_time AND holds.create_time > :read_time - interval '7 days'
                AND (holds.state IN ('ACTIVE', 'EXPIRED') OR holds.end_time > :read_time)
        ) AS held
        FROM past JOIN entries ON entries.account_id = past.id AND entries.sequence = past.sequence
    ) AS balances ON true
ORDER BY balances.currency
""")  # noqa: S608 - of constants
# A transaction has its time before it is visible, and holds its accounts until it is; mostly for milliseconds, but as
# long as the disk takes.
WAIT = text("""
SELECT id FROM accounts WHERE kind = 'WALLET' AND owner_id = (
    SELECT id FROM wallets WHERE id = CAST(:wallet_id AS uuid) OR user_id = CAST(:user_id AS uuid)
) FOR SHARE
""").columns(id=Id)
_user = wallets.c.user_id == bindparam("user_id")
EXPORT_WALLET = select(wallets.c.id, wallets.c.state, wallets.c.create_time).where(_user)
EXPORT_BALANCES = (
    select(
        accounts.c.currency, cast(accounts.c.posted, Text).label("posted"), cast(accounts.c.held, Text).label("held")
    )
    .join_from(wallets, accounts, _own)
    .where(_user)
    .order_by(accounts.c.currency)
)
EXPORT_STATE_CHANGES = (
    select(state_changes.c.state, state_changes.c.reason, state_changes.c.change_time)
    .join_from(wallets, state_changes, state_changes.c.wallet_id == wallets.c.id)
    .where(_user)
    .order_by(state_changes.c.sequence)
)
ERASE_REASONS = (
    update(state_changes)
    .values(reason="")
    .where(
        state_changes.c.wallet_id == select(wallets.c.id).where(_user).scalar_subquery(), state_changes.c.reason != ""
    )
)
# Refunds are a folder above this one.
LIST_DUE = text("""
SELECT due.currency, CAST(sum(due.amount) AS bigint) AS amount
FROM wallets CROSS JOIN LATERAL (
    SELECT accounts.currency, accounts.posted AS amount
    FROM accounts WHERE accounts.owner_id = wallets.id AND accounts.kind = 'WALLET'
    UNION ALL
    SELECT payments.currency, refunds.amount
    FROM payments JOIN refunds ON refunds.payment_id = payments.id AND refunds.state = 'PENDING'
    WHERE payments.wallet_id = wallets.id
) AS due
WHERE wallets.user_id = CAST(:user_id AS uuid)
GROUP BY due.currency HAVING sum(due.amount) <> 0 ORDER BY due.currency
""")
INSERT = insert(wallets).on_conflict_do_nothing(index_elements=[wallets.c.user_id])


class PastWallet(NamedTuple):
    """A wallet as it was at a time."""

    wallet: Wallet | None
    """None if it had not been opened."""
    settled: bool
    """Whether the time is so long past that no transaction of that time can still commit."""


class WalletStore:
    """Wallets."""

    async def find_wallet(
        self, connection: AsyncConnection, *, user_id: str = "", wallet_id: str = ""
    ) -> Wallet | None:
        """Return a user's wallet or the wallet of an ID, with its balances; None if it has not been opened."""
        if user_id:
            rows = (await connection.execute(READ_OWN, {"user_id": user_id})).all()
        else:
            rows = (await connection.execute(READ, {"wallet_id": wallet_id})).all()
        return _wallet(rows) if rows else None

    async def find_past_wallet(
        self, connection: AsyncConnection, *, read_time: datetime, user_id: str = "", wallet_id: str = ""
    ) -> PastWallet:
        """Return a user's wallet or the wallet of an ID, as it was at a time of the past."""
        values = {"user_id": user_id or None, "wallet_id": wallet_id or None, "read_time": read_time}
        await connection.execute(WAIT, values)
        rows = (await connection.execute(READ_PAST, values)).all()
        return PastWallet(_wallet(rows) if rows[0].id else None, settled=rows[0].settled)

    async def list_due(self, connection: AsyncConnection, user_id: str) -> Sequence[Balance]:
        """Return what a user's wallet has, or is paid by pending refunds, where that is not zero."""
        rows = await connection.execute(LIST_DUE, {"user_id": user_id})
        return [Balance(row.currency, row.amount) for row in rows]

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:
        """Return a person's wallet, its balances in minor units, and the changes of its state."""
        return {
            "wallets": await list_rows(connection, EXPORT_WALLET, user_id=user_id),
            "balances": await list_rows(connection, EXPORT_BALANCES, user_id=user_id),
            "walletStateChanges": await list_rows(connection, EXPORT_STATE_CHANGES, user_id=user_id),
        }

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Erase the reasons of the changes of a person's wallet's state."""
        return (await connection.execute(ERASE_REASONS, {"user_id": user_id})).rowcount

    async def insert_wallet(self, connection: AsyncConnection, *, wallet_id: str, user_id: str) -> None:
        """Open the user's wallet, unless it has been opened."""
        await connection.execute(INSERT, {"id": wallet_id, "user_id": user_id})


def _wallet(rows: Sequence[Row[*tuple[Any, ...]]]) -> Wallet:
    first = rows[0]
    status = _status(first[:9])
    balances = tuple(
        Balance(row.currency, row.posted, row.held, row.sequence) for row in rows if row.currency is not None
    )
    return Wallet(status, balances)


def _status(row: Sequence[Any]) -> WalletStatus:
    id_, user_id, create_time, state, sequence, changed, actor_id, reason, change_time = row
    change = None
    if sequence is not None:
        change = StateChange(str(id_), sequence, AccountState(changed), str(actor_id), reason, change_time)
    return WalletStatus(str(id_), str(user_id), create_time, AccountState(state), change)


WALLETS = Kind(
    type=WalletStatus,
    table="wallets",
    columns=columns_of(wallets, "id", "state", "revision"),
    mutable=("state", "revision"),
    values=lambda status: (status.id, status.state, status.revision),
    select="""
        SELECT wallets.id, wallets.user_id, wallets.create_time, wallets.state, changes.sequence, changes.state,
            changes.actor_id, changes.reason, changes.change_time
        FROM wallets
            LEFT JOIN wallet_state_changes changes
            ON changes.wallet_id = wallets.id AND changes.sequence = wallets.revision
        WHERE wallets.id = ANY({keys}::uuid[]) OR wallets.user_id = ANY({keys}::uuid[])
    """,
    read=_status,
    accounts="""
        SELECT key, wallets.id, accounts.currency
        FROM unnest({keys}) AS key
            JOIN wallets ON wallets.id = key::uuid OR wallets.user_id = key::uuid
            JOIN accounts ON accounts.owner_id = wallets.id AND accounts.kind = 'WALLET'
    """,
)
"""Wallets by ID, or by the ID of their owner. All accounts of a wallet are locked with it. Only updated: a wallet is
opened as the owner of accounts."""
STATE_CHANGES = Kind(
    type=StateChange,
    table="wallet_state_changes",
    columns=columns_of(state_changes),
    values=lambda change: (
        change.wallet_id,
        change.sequence,
        change.state,
        change.actor_id,
        change.reason,
        change.change_time,
    ),
)
"""Changes of wallets' states. Only inserted."""
