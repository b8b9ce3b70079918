"""Setting money aside, taking it, giving it back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.payment.errors import CaptureExceedsHold, CurrencyMismatch, HoldExpired, HoldNotActive, HoldNotFound
from services.payment.holds.model import Hold, HoldState
from services.shared.money import check_currency

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.payment.holds.store import HoldStore
    from services.payment.ledger.operations import Ledger
    from services.payment.payments.model import Order, Payment
    from services.payment.payments.operations import Cashier
    from services.payment.wallets.operations import WalletOperations
    from services.shared.idempotency import IdempotencyRecords, Idempotent, Response
    from services.shared.money import Money
    from services.shared.principal import Principal


class HoldOperations:
    """Holds, as their owners, or Education for them, ask for them."""

    def __init__(
        self,
        *,
        records: IdempotencyRecords,
        store: HoldStore,
        cashier: Cashier,
        wallets: WalletOperations,
        ledger: Ledger,
    ) -> None:
        self._records = records
        self._store = store
        self._cashier = cashier
        self._wallets = wallets
        self._ledger = ledger

    async def create_hold(
        self, principal: Principal, order: Order, expire_after: timedelta, idempotent: Idempotent[Hold, Response]
    ) -> Response:
        """Set the order's amount aside. Raises CurrencyUnknown, InsufficientFunds, WalletFrozen."""
        check_currency(order.amount.currency)

        async def effect(connection: AsyncConnection) -> Hold:
            payer = await self._wallets.to_spend_from(connection, principal.user_id, order.amount.currency)
            source, _ = order.accounts(payer)
            await self._ledger.set_aside(connection, source, order.amount.amount_minor)
            return await self._store.insert(connection, payer, order, expire_after=expire_after)

        return await self._records.run(idempotent, effect)

    async def capture_hold(
        self,
        principal: Principal,
        hold_id: str,
        amount: Money | None,
        idempotent: Idempotent[tuple[Hold, Payment], Response],
    ) -> Response:
        """Pay the hold's order with `amount` of what is held, or all of it, and give the rest back.

        Raises HoldNotFound, HoldNotActive, HoldExpired, CurrencyMismatch, CaptureExceedsHold.
        """

        async def effect(connection: AsyncConnection) -> tuple[Hold, Payment]:
            hold = await self._locked(connection, principal, hold_id)
            made = await self._cashier.find(connection, hold.payment_id) if hold.payment_id else None
            # A service that lost the answer longer ago than keys are kept must still find out what happened.
            if made is not None and principal.service and amount is None:
                return hold, made
            order = replace(hold.order, amount=_capturable(hold, amount))
            held_minor = hold.order.amount.amount_minor
            payment = await self._cashier.pay(connection, hold.payer, order, held_minor=held_minor)
            captured = replace(
                hold, state=HoldState.CAPTURED, captured_minor=order.amount.amount_minor, payment_id=payment.id
            )
            await self._store.settle(connection, captured)
            return captured, payment

        return await self._records.run(idempotent, effect)

    async def release_hold(
        self, principal: Principal, hold_id: str, idempotent: Idempotent[Hold, Response]
    ) -> Response:
        """Give the hold back; one that expired was given back already. Raises HoldNotFound, HoldNotActive."""

        async def effect(connection: AsyncConnection) -> Hold:
            hold = await self._locked(connection, principal, hold_id)
            if hold.state is HoldState.EXPIRED:
                return hold
            if hold.state is not HoldState.ACTIVE:
                raise HoldNotActive
            source, _ = hold.order.accounts(hold.payer)
            await self._ledger.set_aside(connection, source, -hold.order.amount.amount_minor)
            released = replace(hold, state=HoldState.RELEASED)
            await self._store.settle(connection, released)
            return released

        return await self._records.run(idempotent, effect)

    async def _locked(self, connection: AsyncConnection, principal: Principal, hold_id: str) -> Hold:
        """Return the caller's hold, which stands still until the transaction ends: its accounts are locked."""
        seen = await self._store.get(connection, hold_id)
        if seen is None or seen.payer.user_id != principal.user_id:
            raise HoldNotFound
        await self._ledger.lock(connection, *seen.order.accounts(seen.payer))
        return await self._store.get(connection, hold_id) or seen


def _capturable(hold: Hold, amount: Money | None) -> Money:
    """Return how much to capture: what was asked for, or all."""
    held = hold.order.amount
    if amount is not None and amount.currency != held.currency:
        raise CurrencyMismatch(metadata={"currency": held.currency})
    if hold.state is HoldState.EXPIRED:
        raise HoldExpired
    if hold.state is not HoldState.ACTIVE:
        raise HoldNotActive
    if amount is not None and amount.amount_minor > held.amount_minor:
        raise CaptureExceedsHold
    return amount or held
