"""Wallet operations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.payment.errors import ReadTimeTooRecent, WalletNotFound
from services.payment.ledger.model import AccountState
from services.payment.wallets.commands import ChangeWalletState, CloseWallet
from services.payment.wallets.model import Balance, Wallet
from services.shared.audit.model import Action
from services.shared.audit.recording import new_event
from services.shared.ids import new_id
from services.shared.money import EARNED_TOKEN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.payment.ledger.writer import Writer
    from services.payment.wallets.commands import Refunding
    from services.payment.wallets.model import UserRegistered, WalletStatus
    from services.payment.wallets.store import WalletStore
    from services.shared.db import Database
    from services.shared.idempotency import Idempotent, Response
    from services.shared.principal import Principal

WALLETS_MANAGE = "PERMISSION_WALLETS_MANAGE"


class WalletOperations:
    """Reads wallets, changes their states, opens them.

    `refunds` is the class of refunds: a wallet to which one is pending cannot be closed.
    """

    def __init__(
        self,
        *,
        database: Database,
        store: WalletStore,
        writer: Writer,
        refunds: type[Refunding],
    ) -> None:
        self._database = database
        self._store = store
        self._writer = writer
        self._refunds = refunds

    async def get_wallet(self, *, principal: Principal, wallet_id: str, read_time: datetime | None) -> Wallet:
        """Return the caller's wallet, or of an ID for administrators any, now or at a time of the past.

        AZR stands first among its balances, always. Raises WalletNotFound, ReadTimeTooRecent.
        """
        whose = {"wallet_id": wallet_id} if wallet_id else {"user_id": principal.user_id}
        async with self._database.reading() as connection:
            if read_time is None:
                wallet = await self._store.find_wallet(connection, **whose)
            else:
                wallet, settled = await self._store.find_past_wallet(connection, read_time=read_time, **whose)
                if not settled:
                    raise ReadTimeTooRecent.field("readTime", "must be at least 5 seconds in the past")
        if wallet_id and not (wallet and wallet.status and _visible(principal, wallet.status)):
            raise WalletNotFound
        return _sorted(wallet or Wallet())

    async def freeze_wallet(
        self, *, principal: Principal, wallet_id: str, reason: str, etag: str, idempotent: Idempotent[Wallet, Response]
    ) -> Response:
        """Freeze a wallet. Raises WalletNotFound, EtagMismatch, WalletClosed."""
        audited = new_event(action=Action.WALLET_FREEZE, target=f"wallets/{wallet_id}", principal=principal)
        command = ChangeWalletState(wallet_id, AccountState.FROZEN, principal.user_id, reason, etag, audited=audited)
        return await self._writer.answer(command, idempotent)

    async def unfreeze_wallet(
        self, *, principal: Principal, wallet_id: str, reason: str, etag: str, idempotent: Idempotent[Wallet, Response]
    ) -> Response:
        """Make a frozen wallet active. Raises WalletNotFound, EtagMismatch, WalletClosed."""
        audited = new_event(action=Action.WALLET_UNFREEZE, target=f"wallets/{wallet_id}", principal=principal)
        command = ChangeWalletState(wallet_id, AccountState.ACTIVE, principal.user_id, reason, etag, audited=audited)
        return await self._writer.answer(command, idempotent)

    async def close_wallet(
        self, *, principal: Principal, wallet_id: str, reason: str, etag: str, idempotent: Idempotent[Wallet, Response]
    ) -> Response:
        """Close an empty wallet for good. Raises WalletNotFound, EtagMismatch, WalletNotEmpty, WalletRefundPending."""
        audited = new_event(action=Action.WALLET_CLOSE, target=f"wallets/{wallet_id}", principal=principal)
        command = CloseWallet(
            wallet_id, AccountState.CLOSED, principal.user_id, reason, etag, self._refunds, audited=audited
        )
        return await self._writer.answer(command, idempotent)

    async def list_balances(self, *, user_id: str) -> Sequence[Balance]:
        """Return the balances of a user's wallet that are not zero, what is held and pending refunds included."""
        async with self._database.reading() as connection:
            return await self._store.list_due(connection, user_id)

    async def user_registered(self, connection: AsyncConnection, event: UserRegistered) -> None:
        """Open the user's wallet, unless its first credit has."""
        await self._store.insert_wallet(connection, wallet_id=new_id(), user_id=event.user_id)


def _visible(principal: Principal, status: WalletStatus) -> bool:
    return status.user_id == principal.user_id or principal.may(WALLETS_MANAGE)


def _sorted(wallet: Wallet) -> Wallet:
    earned = [balance for balance in wallet.balances if balance.currency == EARNED_TOKEN]
    others = [balance for balance in wallet.balances if balance.currency != EARNED_TOKEN]
    return replace(wallet, balances=(*(earned or [Balance(EARNED_TOKEN)]), *others))
