"""Payment, refund and earning operations. Each posting is one transaction of the ledger and of the database."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from services.payment.errors import (
    CaptureExceedsHold,
    CourseCompleted,
    CurrencyMismatch,
    HoldExpired,
    HoldNotActive,
    PartialRefundNotAllowed,
    PaymentNotFound,
    ProgressLimitExceeded,
    ReferenceUsed,
    RefundExceedsPayment,
    RefundNotFound,
    RefundPending,
    RefundWindowClosed,
)
from services.payment.holds.model import HoldState
from services.payment.ledger.model import ADMINISTRATORS, AccountKey, AccountKind, Leg, Transaction, TransactionType
from services.payment.ledger.operations import last_time
from services.payment.payments.model import PaymentRefunded, Refund, RefundState, SettleRefund
from services.shared.errors import DependencyUnavailable, Refused
from services.shared.ids import new_id
from services.shared.jobs import enqueue
from services.shared.money import check_currency

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.payment.holds.model import Hold, Order
    from services.payment.holds.operations import HoldOperations
    from services.payment.ledger.operations import Ledger
    from services.payment.payments.model import Earning, Payment
    from services.payment.payments.store import PaymentStore
    from services.payment.ports import Education
    from services.payment.wallets.model import Movement, Payer
    from services.payment.wallets.operations import WalletOperations
    from services.payment.wallets.store import WalletStore
    from services.shared.db import Database
    from services.shared.idempotency import IdempotencyRecords, Idempotent, Response
    from services.shared.money import Money
    from services.shared.outbox import Outbox
    from services.shared.principal import Principal

REFUNDS_MANAGE = "PERMISSION_REFUNDS_MANAGE"
SETTLEMENTS_PER_CALL = 2
SWEEP_LIMIT = 1000
REJECTIONS = {kind.reason: kind for kind in (CourseCompleted, ProgressLimitExceeded)}
"""What Education refuses a payer's refund for."""


class PaymentOperations:
    """Payments, made at once or by capturing a hold."""

    def __init__(
        self,
        *,
        database: Database,
        records: IdempotencyRecords,
        store: PaymentStore,
        wallets: WalletOperations,
        holds: HoldOperations,
        ledger: Ledger,
        refund_window: timedelta,
    ) -> None:
        self._database = database
        self._records = records
        self._store = store
        self._wallets = wallets
        self._holds = holds
        self._ledger = ledger
        self._refund_window = refund_window

    async def create_payment(
        self, *, principal: Principal, order: Order, idempotent: Idempotent[Payment, Response]
    ) -> Response:
        """Pay from the caller's wallet. Raises CurrencyUnknown, InsufficientFunds, WalletFrozen."""
        check_currency(order.amount.currency)

        async def work(connection: AsyncConnection) -> Payment:
            payer = await self._wallets.lock_payer(
                connection, user_id=principal.user_id, currency=order.amount.currency
            )
            return await self._pay(connection, payer, order, creator=principal.service)

        return await self._records.run(idempotent, work)

    async def get_payment(self, *, principal: Principal, payment_id: str) -> Payment:
        """Return the caller's payment, or to administrators of refunds anyone's. Raises PaymentNotFound."""
        async with self._database.reading() as connection:
            return _visible(principal, await self._store.find_payment(connection, payment_id))

    async def capture_hold(
        self,
        *,
        principal: Principal,
        hold_id: str,
        amount: Money | None,
        idempotent: Idempotent[tuple[Hold, Payment], Response],
    ) -> Response:
        """Pay the hold's order with `amount` of what is held, or all of it, and give the rest back.

        Raises HoldNotFound, HoldNotActive, HoldExpired, CurrencyMismatch, CaptureExceedsHold.
        """

        async def work(connection: AsyncConnection) -> tuple[Hold, Payment]:
            hold = await self._holds.lock(connection, principal=principal, hold_id=hold_id)
            made = await self._store.find_payment(connection, hold.payment_id) if hold.payment_id else None
            # A service that lost the answer longer ago than keys are kept must still find out what happened.
            if made is not None and principal.service and amount is None:
                return hold, made
            order = replace(hold.order, amount=_capturable(hold, amount))
            held_minor = hold.order.amount.amount_minor
            payment = await self._pay(connection, hold.payer, order, creator=hold.creator, held_minor=held_minor)
            captured = replace(
                hold, state=HoldState.CAPTURED, captured_minor=order.amount.amount_minor, payment_id=payment.id
            )
            await self._holds.settle(connection, hold=captured)
            return captured, payment

        return await self._records.run(idempotent, work)

    async def _pay(
        self, connection: AsyncConnection, payer: Payer, order: Order, *, creator: str, held_minor: int = 0
    ) -> Payment:
        """Pay the order, using up `held_minor` of what the payer's wallet holds for it."""
        source, destination = order.accounts(payer)
        locked = await self._ledger.lock(connection, source, destination)
        payment = await self._store.insert_payment(
            connection,
            payer,
            order,
            creator=creator,
            refund_window=self._refund_window,
            not_before=last_time(locked.values()),
        )
        await self._ledger.post(
            connection,
            Transaction(new_id(), TransactionType.PAYMENT, payment_id=payment.id, description=order.description),
            Leg(source, -order.amount.amount_minor, -held_minor),
            Leg(destination, order.amount.amount_minor),
            locked=locked,
        )
        return payment


class RefundOperations:
    """Refunds: reserved, decided by Education if they take a course back, then posted or rejected.

    The payer's call does it, and a job does it again in case the call died. Education's answer to one refund is always
    the same, and it is noted under the payment's lock by whoever comes first: any number may do it at once.
    """

    def __init__(
        self,
        *,
        database: Database,
        records: IdempotencyRecords,
        store: PaymentStore,
        ledger: Ledger,
        education: Education,
        outbox: Outbox,
        settle_after: timedelta,
    ) -> None:
        self._database = database
        self._records = records
        self._store = store
        self._ledger = ledger
        self._education = education
        self._outbox = outbox
        self._settle_after = settle_after

    async def create_refund(
        self,
        *,
        principal: Principal,
        payment_id: str,
        amount: Money | None,
        reason: str,
        idempotent: Idempotent[Refund, Response],
    ) -> Response:
        """Pay `amount` of a payment back, or all that is left.

        The key's answer is kept when the refund is decided: completed, or rejected by Education.

        Raises PaymentNotFound, RefundWindowClosed, CurrencyMismatch, RefundExceedsPayment, RefundPending,
        PartialRefundNotAllowed, CourseCompleted, ProgressLimitExceeded, DependencyUnavailable.
        """
        digest = _digest(idempotent)

        async def work(connection: AsyncConnection, _: bool) -> Refund:
            found = await self._store.find_refund_of_call(connection, digest)
            if found is None:
                payment = _visible(principal, await self._store.lock_payment(connection, payment_id))
                by_payer = not principal.may(REFUNDS_MANAGE)
                refunded = await self._refundable(connection, payment, amount, by_payer=by_payer)
                refund = await self._store.insert_refund(
                    connection, payment, refunded, reason=reason, by_payer=by_payer, call_digest=digest
                )
                return await self._begin(connection, payment, refund)
            if found.state is RefundState.REJECTED:
                raise REJECTIONS[found.rejection](refund_id=found.id)
            return found

        for _ in range(SETTLEMENTS_PER_CALL):
            answer = await self._records.advance(idempotent, work, decided=lambda refund: not refund.pending)
            if not isinstance(answer, Refund):
                return answer
            await self._settle(answer)
        raise DependencyUnavailable(retry_after_seconds=1)

    async def get_refund(self, *, principal: Principal, refund_id: str) -> Refund:
        """Return a refund of the caller's payment, or to administrators of refunds any. Raises RefundNotFound."""
        async with self._database.reading() as connection:
            refund = await self._store.find_refund(connection, refund_id)
        if refund is None or (refund.payer_id != principal.user_id and not principal.may(REFUNDS_MANAGE)):
            raise RefundNotFound
        return refund

    async def settle_refund(self, job: SettleRefund) -> None:
        """Decide the refund if a call left it pending. Raises DependencyUnavailable."""
        async with self._database.reading() as connection:
            refund = await self._store.find_refund(connection, job.refund_id)
        if refund is not None and refund.pending:
            await self._settle(refund)

    async def sweep_refunds(self) -> None:
        """Enqueue the settlement of refunds that are pending although their job is over."""

        async def work(connection: AsyncConnection) -> None:
            for job in await self._store.list_pending_refunds(connection, age=self._settle_after, limit=SWEEP_LIMIT):
                await enqueue(connection, job, once=job.once)

        await self._database.transaction(work)

    async def _refundable(
        self, connection: AsyncConnection, payment: Payment, amount: Money | None, *, by_payer: bool
    ) -> Money:
        """Return the amount to refund: what was asked for, or all that is left."""
        if by_payer and not payment.refund_window_open:
            raise RefundWindowClosed
        left = payment.refundable
        if amount is not None and amount.currency != left.currency:
            raise CurrencyMismatch(currency=left.currency)
        if left.amount_minor == 0 or (amount is not None and amount.amount_minor > left.amount_minor):
            pending = await self._store.find_pending_refund(connection, payment.id)
            if pending is not None:
                raise RefundPending(refund_id=pending.id)
            raise RefundExceedsPayment(refundable_minor=left.amount_minor)
        if by_payer and payment.bought_course and amount not in (None, left):
            raise PartialRefundNotAllowed(refundable_minor=left.amount_minor)
        return amount or left

    async def _begin(self, connection: AsyncConnection, payment: Payment, refund: Refund) -> Refund:
        """Post a reserved refund at once, or leave it pending where it takes a course back."""
        if payment.bought_course and refund.amount == payment.refundable:
            job = SettleRefund(refund.id)
            await enqueue(connection, job, delay=self._settle_after, once=job.once)
            return refund
        return await self._post(connection, payment, refund)

    async def _settle(self, refund: Refund) -> None:
        """Ask Education, and note its answer unless someone else has. Raises DependencyUnavailable."""
        rejection = ""
        try:
            await self._education.close_enrollment(
                payment_id=refund.payment_id, refund_id=refund.id, by_payer=refund.by_payer
            )
        except Refused as refused:
            if not refund.by_payer or refused.reason not in REJECTIONS:
                raise
            rejection = refused.reason

        async def work(connection: AsyncConnection) -> None:
            payment = await self._store.lock_payment(connection, refund.payment_id)
            current = await self._store.find_refund(connection, refund.id)
            if payment is None or current is None or not current.pending:
                return
            if rejection:
                rejected = replace(current, state=RefundState.REJECTED, rejection=rejection)
                await self._store.update_refund(connection, rejected)
            else:
                await self._post(connection, payment, current)

        await self._database.transaction(work)

    async def _post(self, connection: AsyncConnection, payment: Payment, refund: Refund) -> Refund:
        """Pay a reserved refund of a locked payment back, whatever the state of the payer's wallet."""
        transaction = Transaction(refund.id, TransactionType.REFUND, payment_id=payment.id, description=refund.reason)
        source, destination = payment.order.accounts(payment.payer)
        minor = refund.amount.amount_minor
        post_time = await self._ledger.post(connection, transaction, Leg(destination, -minor), Leg(source, minor))
        completed = replace(refund, state=RefundState.COMPLETED, decide_time=post_time)
        await self._store.update_refund(connection, completed)
        in_full = payment.refunded_minor + minor == payment.order.amount.amount_minor
        event = PaymentRefunded(payment.id, in_full, payment.payer.user_id, refund.id, refund.amount)
        await self._outbox.publish(connection, event)
        return completed


class EarningOperations:
    """Issues tokens from the treasury."""

    def __init__(self, *, records: IdempotencyRecords, wallets: WalletStore, ledger: Ledger) -> None:
        self._records = records
        self._wallets = wallets
        self._ledger = ledger

    async def earn(
        self, *, principal: Principal, earning: Earning, idempotent: Idempotent[Movement, Response]
    ) -> Response:
        """Credit the earning, once per reference for all time: earning it again returns the same movement.

        Each service has references of its own, and administrators share theirs. Raises ReferenceUsed for one that
        earned another amount, or another person.
        """
        owner = principal.service or ADMINISTRATORS

        async def work(connection: AsyncConnection) -> Movement:
            wallet = await self._wallets.insert_wallet(connection, earning.user_id)
            currency, amount_minor = earning.amount.currency, earning.amount.amount_minor
            transaction = Transaction(
                new_id(),
                TransactionType.EARN,
                reference=earning.reference,
                reference_owner=owner,
                description=earning.description,
            )
            treasury = AccountKey.system(AccountKind.TREASURY, wallet.id, currency)
            earner = AccountKey.wallet(wallet.id, currency)
            await self._ledger.post(connection, transaction, Leg(treasury, -amount_minor), Leg(earner, amount_minor))
            movement = await self._wallets.find_movement(
                connection, wallet.id, reference_owner=owner, reference=earning.reference
            )
            if movement is None or movement.amount != earning.amount:
                raise ReferenceUsed
            return movement

        return await self._records.run(idempotent, work)


def _visible(principal: Principal, payment: Payment | None) -> Payment:
    if payment is None or (payment.payer.user_id != principal.user_id and not principal.may(REFUNDS_MANAGE)):
        raise PaymentNotFound
    return payment


def _capturable(hold: Hold, amount: Money | None) -> Money:
    """Return how much to capture: what was asked for, or all."""
    held = hold.order.amount
    if amount is not None and amount.currency != held.currency:
        raise CurrencyMismatch(currency=held.currency)
    if hold.state is HoldState.EXPIRED:
        raise HoldExpired
    if hold.state is not HoldState.ACTIVE:
        raise HoldNotActive
    if amount is not None and amount.amount_minor > held.amount_minor:
        raise CaptureExceedsHold
    return amount or held


def _digest(call: Idempotent[Refund, Response]) -> bytes:
    """Return what names a keyed call and its request: by it a retry finds the refund, even after the key expired."""
    return hashlib.sha256(f"{call.principal_id}\0{call.key}\0".encode() + call.fingerprint).digest()
