"""Payment, refund and earning operations."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from services.payment.errors import PaymentNotFound, RefundNotFound
from services.payment.ledger.debits import Terms
from services.payment.ledger.model import ADMINISTRATORS
from services.payment.payments.commands import (
    REJECTIONS,
    CaptureHold,
    CreatePayment,
    DecideRefund,
    Earn,
    ReserveRefund,
)
from services.shared.audit.model import Action
from services.shared.audit.recording import new_event
from services.shared.errors import DependencyUnavailable, Refused
from services.shared.jobs import enqueue
from services.shared.money import check_currency

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.payment.holds.model import Hold, Order
    from services.payment.ledger.debits import Conditions, VelocityLimits
    from services.payment.ledger.writer import Writer
    from services.payment.payments.model import Earning, Payment, Refund, SettleRefund
    from services.payment.payments.store import PaymentStore
    from services.payment.ports import Education
    from services.payment.transactions.model import Movement
    from services.shared.db import Database
    from services.shared.idempotency import Idempotent, Response
    from services.shared.money import Money
    from services.shared.principal import Principal

REFUNDS_MANAGE = "PERMISSION_REFUNDS_MANAGE"
SETTLEMENTS_PER_CALL = 2
SWEEP_LIMIT = 1000


class PaymentOperations:
    """Payments, made at once or by capturing a hold."""

    def __init__(
        self,
        *,
        database: Database,
        store: PaymentStore,
        writer: Writer,
        refund_window: timedelta,
        limits: VelocityLimits,
    ) -> None:
        self._database = database
        self._store = store
        self._writer = writer
        self._refund_window = refund_window
        self._limits = limits

    async def create_payment(
        self,
        *,
        principal: Principal,
        order: Order,
        conditions: Conditions,
        validate_only: bool,
        idempotent: Idempotent[Payment, Response],
    ) -> Response:
        """Pay from the caller's wallet.

        Raises CurrencyUnknown, CurrencyMismatch, InsufficientFunds, WalletFrozen, WalletClosed, EtagMismatch,
        MinimumAvailableNotMet, VelocityExceeded.
        """
        check_currency(order.amount.currency)
        terms = Terms(conditions, self._limits)
        command = CreatePayment(principal.user_id, principal.service, order, self._refund_window, terms)
        if validate_only:
            return await self._writer.quote_answer(command, idempotent)
        return await self._writer.answer(command, idempotent)

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
        command = CaptureHold(hold_id, principal.user_id, principal.service, amount, self._refund_window)
        return await self._writer.answer(command, idempotent)


class RefundOperations:
    """Refunds: reserved, decided by Education if they take a course back, then posted or rejected.

    The payer's call does it, and a job does it again in case the call died. Education's answer to one refund is always
    the same, and it is noted by whoever comes first: any number may do it at once.
    """

    def __init__(
        self,
        *,
        database: Database,
        store: PaymentStore,
        writer: Writer,
        education: Education,
        settle_after: timedelta,
    ) -> None:
        self._database = database
        self._store = store
        self._writer = writer
        self._education = education
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
        PartialRefundNotAllowed, CourseCompleted, ProgressLimitExceeded, WalletClosed, DependencyUnavailable.
        """
        by_payer = not principal.may(REFUNDS_MANAGE)
        command = ReserveRefund(
            payment_id,
            amount,
            reason,
            user_id=principal.user_id,
            by_payer=by_payer,
            call_digest=_digest(idempotent),
            settle_after=self._settle_after,
            audited=None
            if by_payer
            else new_event(action=Action.REFUND_CREATE, target=f"payments/{payment_id}", principal=principal),
        )
        for _ in range(SETTLEMENTS_PER_CALL):
            answer, refund = await self._writer.advance(command, idempotent)
            if answer is not None:
                return answer
            if refund is not None:
                await self._settle(refund)
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

        await self._writer.run(DecideRefund(refund.id, refund.payment_id, rejection))


class EarningOperations:
    """Issues tokens from the treasury."""

    def __init__(self, *, writer: Writer) -> None:
        self._writer = writer

    async def earn(
        self, *, principal: Principal, earning: Earning, idempotent: Idempotent[Movement, Response]
    ) -> Response:
        """Credit the earning, once per reference for all time: earning it again returns the same movement.

        Each service has references of its own, and administrators share theirs. Raises ReferenceUsed for one that
        earned another amount, or another person; WalletClosed, AmountOverflow.
        """
        audited = None
        if not principal.service:
            audited = new_event(action=Action.EARNING_GRANT, target=f"users/{earning.user_id}", principal=principal)
        command = Earn(earning, reference_owner=principal.service or ADMINISTRATORS, audited=audited)
        return await self._writer.answer(command, idempotent)


def _visible(principal: Principal, payment: Payment | None) -> Payment:
    if payment is None or (payment.payer.user_id != principal.user_id and not principal.may(REFUNDS_MANAGE)):
        raise PaymentNotFound
    return payment


def _digest(call: Idempotent[Refund, Response]) -> bytes:
    """Return what names a keyed call and its request: by it a retry finds the refund, even after the key expired."""
    return hashlib.sha256(f"{call.principal_id}\0{call.key}\0".encode() + call.fingerprint).digest()
