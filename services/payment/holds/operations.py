"""Hold operations, and the lock of a hold for its capture."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.payment.errors import HoldNotActive, HoldNotFound
from services.payment.holds.model import Hold, HoldState
from services.shared.money import check_currency

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.payment.holds.model import Order
    from services.payment.holds.store import HoldStore
    from services.payment.ledger.operations import Ledger
    from services.payment.wallets.operations import WalletOperations
    from services.shared.idempotency import IdempotencyRecords, Idempotent, Response
    from services.shared.principal import Principal


class HoldOperations:
    """Creates and releases holds of users, and of services that act for them."""

    def __init__(
        self, *, records: IdempotencyRecords, store: HoldStore, wallets: WalletOperations, ledger: Ledger
    ) -> None:
        self._records = records
        self._store = store
        self._wallets = wallets
        self._ledger = ledger

    async def create_hold(
        self,
        *,
        principal: Principal,
        order: Order,
        expire_after: timedelta,
        idempotent: Idempotent[Hold, Response],
    ) -> Response:
        """Set the order's amount aside. Raises CurrencyUnknown, InsufficientFunds, WalletFrozen."""
        check_currency(order.amount.currency)

        async def work(connection: AsyncConnection) -> Hold:
            payer = await self._wallets.lock_payer(
                connection, user_id=principal.user_id, currency=order.amount.currency
            )
            source, _ = order.accounts(payer)
            await self._ledger.set_aside(connection, source, order.amount.amount_minor)
            return await self._store.insert_hold(
                connection, payer, order, creator=principal.service, expire_after=expire_after
            )

        return await self._records.run(idempotent, work)

    async def release_hold(
        self, *, principal: Principal, hold_id: str, idempotent: Idempotent[Hold, Response]
    ) -> Response:
        """Give the hold back; one that expired was given back already. Raises HoldNotFound, HoldNotActive."""

        async def work(connection: AsyncConnection) -> Hold:
            hold = await self.lock(connection, principal=principal, hold_id=hold_id)
            if hold.state is HoldState.EXPIRED:
                return hold
            if hold.state is not HoldState.ACTIVE:
                raise HoldNotActive
            source, _ = hold.order.accounts(hold.payer)
            await self._ledger.set_aside(connection, source, -hold.order.amount.amount_minor)
            released = replace(hold, state=HoldState.RELEASED)
            await self._store.update_hold(connection, released)
            return released

        return await self._records.run(idempotent, work)

    async def lock(self, connection: AsyncConnection, *, principal: Principal, hold_id: str) -> Hold:
        """Return the hold, unchanged until the transaction ends: its accounts are locked. Raises HoldNotFound.

        A hold belongs to who created it: what a service set aside, the wallet's owner neither captures nor releases.
        """
        seen = await self._store.find_hold(connection, hold_id)
        if seen is None or (seen.payer.user_id, seen.creator) != (principal.user_id, principal.service):
            raise HoldNotFound
        await self._ledger.lock(connection, *seen.order.accounts(seen.payer))
        return await self._store.find_hold(connection, hold_id) or seen

    async def settle(self, connection: AsyncConnection, *, hold: Hold) -> None:
        """Note how a locked hold ended."""
        await self._store.update_hold(connection, hold)
