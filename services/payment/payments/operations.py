"""Paying, refunding and earning: each is one transaction of the ledger and one of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.payment.errors import (
    CurrencyMismatch,
    PaymentNotFound,
    ReferenceUsed,
    RefundExceedsPayment,
    RefundWindowClosed,
)
from services.payment.ledger.model import AccountKey, AccountKind, Leg, Transaction, TransactionType
from services.payment.payments.model import PaymentRefunded, PaymentState
from services.shared.ids import new_id
from services.shared.money import check_currency

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.payment.ledger.operations import Ledger
    from services.payment.payments.model import Earning, Order, Payment, Refund
    from services.payment.payments.store import PaymentStore
    from services.payment.wallets.model import Movement, Payer
    from services.payment.wallets.operations import WalletOperations
    from services.payment.wallets.store import WalletStore
    from services.shared.db import Database
    from services.shared.idempotency import IdempotencyRecords, Idempotent, Response
    from services.shared.money import Money
    from services.shared.outbox import Outbox
    from services.shared.principal import Principal

REFUNDS_MANAGE = "PERMISSION_REFUNDS_MANAGE"


class Cashier:
    """Turns an order into a payment, within the caller's transaction."""

    def __init__(self, store: PaymentStore, ledger: Ledger, refund_window: timedelta) -> None:
        self._store = store
        self._ledger = ledger
        self._refund_window = refund_window

    async def pay(self, connection: AsyncConnection, payer: Payer, order: Order, *, held_minor: int = 0) -> Payment:
        """Pay the order, using up `held_minor` of what the payer's wallet holds for it. Raises InsufficientFunds."""
        payment = await self._store.insert(connection, payer, order, refund_window=self._refund_window)
        source, destination = order.accounts(payer)
        await self._ledger.post(
            connection,
            Transaction(new_id(), TransactionType.PAYMENT, payment_id=payment.id, description=order.description),
            Leg(source, -order.amount.amount_minor, -held_minor),
            Leg(destination, order.amount.amount_minor),
        )
        return payment

    async def find(self, connection: AsyncConnection, payment_id: str) -> Payment | None:
        """Return a payment that was made before."""
        return await self._store.get(connection, payment_id)


class PaymentOperations:
    """Payments and refunds, as their payers and administrators ask for them."""

    def __init__(
        self,
        *,
        database: Database,
        records: IdempotencyRecords,
        store: PaymentStore,
        cashier: Cashier,
        wallets: WalletOperations,
        ledger: Ledger,
        outbox: Outbox,
    ) -> None:
        self._database = database
        self._records = records
        self._store = store
        self._cashier = cashier
        self._wallets = wallets
        self._ledger = ledger
        self._outbox = outbox

    async def create_payment(
        self, principal: Principal, order: Order, idempotent: Idempotent[Payment, Response]
    ) -> Response:
        """Pay from the caller's wallet. Raises CurrencyUnknown, InsufficientFunds, WalletFrozen."""
        check_currency(order.amount.currency)

        async def effect(connection: AsyncConnection) -> Payment:
            payer = await self._wallets.to_spend_from(connection, principal.user_id, order.amount.currency)
            return await self._cashier.pay(connection, payer, order)

        return await self._records.run(idempotent, effect)

    async def get_payment(self, principal: Principal, payment_id: str) -> Payment:
        """Return the caller's payment, or to administrators of refunds anyone's. Raises PaymentNotFound."""
        async with self._database.reading() as connection:
            return _visible(principal, await self._store.get(connection, payment_id))

    async def create_refund(
        self,
        principal: Principal,
        payment_id: str,
        amount: Money | None,
        reason: str,
        idempotent: Idempotent[Refund, Response],
    ) -> Response:
        """Pay `amount` of a payment back, or all that is left. Publishes PaymentRefunded.

        Raises PaymentNotFound, RefundWindowClosed, CurrencyMismatch, RefundExceedsPayment.
        """

        async def effect(connection: AsyncConnection) -> Refund:
            payment = _visible(principal, await self._store.get(connection, payment_id, lock=True))
            if not (payment.refund_window_open or principal.may(REFUNDS_MANAGE)):
                raise RefundWindowClosed
            return await self._refund(connection, payment, _refundable(payment, amount), reason)

        return await self._records.run(idempotent, effect)

    async def close_refund_window(self, payment_id: str) -> None:
        """End the time in which the payer may ask for a refund. Raises PaymentNotFound."""

        async def work(connection: AsyncConnection) -> bool:
            return await self._store.close_refund_window(connection, payment_id)

        if not await self._database.transaction(work):
            raise PaymentNotFound

    async def _refund(self, connection: AsyncConnection, payment: Payment, amount: Money, reason: str) -> Refund:
        transaction = Transaction(new_id(), TransactionType.REFUND, payment_id=payment.id, description=reason)
        source, destination = payment.order.accounts(payment.payer)
        await self._ledger.post(
            connection, transaction, Leg(destination, -amount.amount_minor), Leg(source, amount.amount_minor)
        )
        refund = await self._store.add_refund(connection, payment, amount, refund_id=transaction.id, reason=reason)
        await self._outbox.publish(connection, PaymentRefunded(payment.id, in_full=amount == payment.refundable))
        return refund


class EarningOperations:
    """Issues tokens from the treasury."""

    def __init__(self, *, records: IdempotencyRecords, wallets: WalletStore, ledger: Ledger) -> None:
        self._records = records
        self._wallets = wallets
        self._ledger = ledger

    async def earn(self, earning: Earning, idempotent: Idempotent[Movement, Response]) -> Response:
        """Credit the earning, once per reference for all time: earning it again returns the same movement.

        Raises ReferenceUsed for a reference that earned another amount, or another person.
        """

        async def effect(connection: AsyncConnection) -> Movement:
            wallet = await self._wallets.open(connection, earning.user_id)
            currency, amount_minor = earning.amount.currency, earning.amount.amount_minor
            transaction = Transaction(
                new_id(), TransactionType.EARN, reference=earning.reference, description=earning.description
            )
            treasury = AccountKey.system(AccountKind.TREASURY, wallet.id, currency)
            earner = AccountKey.wallet(wallet.id, currency)
            await self._ledger.post(connection, transaction, Leg(treasury, -amount_minor), Leg(earner, amount_minor))
            movement = await self._wallets.movement_by_reference(connection, wallet.id, earning.reference)
            if movement is None or movement.amount != earning.amount:
                raise ReferenceUsed
            return movement

        return await self._records.run(idempotent, effect)


def _visible(principal: Principal, payment: Payment | None) -> Payment:
    if payment is None or (payment.payer.user_id != principal.user_id and not principal.may(REFUNDS_MANAGE)):
        raise PaymentNotFound
    return payment


def _refundable(payment: Payment, amount: Money | None) -> Money:
    """Return how much to refund: what was asked for, or all that is left."""
    left = payment.refundable
    if amount is not None and amount.currency != left.currency:
        raise CurrencyMismatch(metadata={"currency": left.currency})
    if payment.state is PaymentState.REFUNDED or (amount is not None and amount.amount_minor > left.amount_minor):
        raise RefundExceedsPayment(metadata={"refundableMinorUnits": str(left.amount_minor)})
    return amount or left
