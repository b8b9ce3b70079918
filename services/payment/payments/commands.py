"""What is done with payments, their refunds, and earnings."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
    RefundPending,
    RefundWindowClosed,
    WalletClosed,
)
from services.payment.holds.commands import find_hold
from services.payment.holds.model import Hold, HoldState
from services.payment.ledger.book import Command, Needs
from services.payment.ledger.debits import FREELY, Terms, debiting
from services.payment.ledger.model import (
    AccountKey,
    AccountKind,
    AccountState,
    Leg,
    SourceKind,
    Transaction,
    TransactionType,
)
from services.payment.payments.model import (
    Captured,
    Payment,
    PaymentCompleted,
    PaymentRefunded,
    PaymentSubscription,
    Refund,
    RefundState,
    SettleRefund,
)
from services.payment.transactions.model import Movement
from services.payment.wallets.commands import find_payer

if TYPE_CHECKING:
    from datetime import timedelta

    from services.payment.holds.model import Order
    from services.payment.ledger.book import Book
    from services.payment.payments.model import Earning
    from services.payment.wallets.model import Payer
    from services.shared.audit.model import Recorded
    from services.shared.money import Money

DESTINATIONS = (AccountKind.REVENUE, AccountKind.DONATIONS)
"""What payments credit, and refunds debit."""
REJECTIONS = {kind.reason: kind for kind in (CourseCompleted, ProgressLimitExceeded)}
"""What Education refuses a payer's refund for."""


@dataclass(frozen=True, slots=True)
class CreatePayment(Command[Payment]):
    """Pay an order from a wallet. Refused with InsufficientFunds, WalletFrozen, WalletClosed, or by its terms."""

    user_id: str
    creator: str
    order: Order
    refund_window: timedelta
    terms: Terms = FREELY

    @property
    def needs(self) -> Needs:
        """The wallet's account and the credited one."""
        currency = self.order.amount.currency
        return Needs(
            users=(self.user_id,),
            currencies=(currency,),
            system=(self.order.type.destination,),
            rows=((PaymentSubscription, self.user_id),),
        )

    def decide(self, book: Book) -> Payment:
        """Post the payment."""
        payer = find_payer(book, self.user_id, self.order.amount.currency)
        with debiting(book, self.order.source(payer), self.terms):
            return _pay(book, payer, self.order, creator=self.creator, refund_window=self.refund_window)


@dataclass(frozen=True, slots=True)
class CaptureHold(Command[tuple[Hold, Payment]]):
    """Pay a hold's order with what is held, or with part of it, and release the rest.

    Refused with HoldNotFound, HoldNotActive, HoldExpired, CurrencyMismatch, CaptureExceedsHold.
    """

    hold_id: str
    user_id: str
    creator: str
    amount: Money | None
    refund_window: timedelta

    @property
    def needs(self) -> Needs:
        """The hold, the accounts that its order may credit, and the payment of an earlier capture."""
        rows = ((Hold, self.hold_id), (Captured, self.hold_id), (PaymentSubscription, self.user_id))
        return Needs(rows=rows, system=DESTINATIONS)

    def decide(self, book: Book) -> tuple[Hold, Payment]:
        """Post the payment."""
        hold = find_hold(book, self.hold_id, user_id=self.user_id, creator=self.creator)
        made = self._captured(book, hold)
        # A service that lost the answer longer ago than keys are kept must still find out what happened.
        if made is not None and self.creator and self.amount is None:
            return hold, made
        order = replace(hold.order, amount=_capturable(hold, self.amount))
        payment = _pay(
            book,
            hold.payer,
            order,
            creator=hold.creator,
            refund_window=self.refund_window,
            held_minor=hold.held_minor,
        )
        captured = replace(
            hold,
            state=HoldState.CAPTURED,
            captured_minor=order.amount.amount_minor,
            payment_id=payment.id,
            end_time=payment.create_time,
        )
        book.put(captured)
        return captured, payment

    @staticmethod
    def _captured(book: Book, hold: Hold) -> Payment | None:
        if not hold.payment_id:
            return None
        earlier = book.find(Captured, hold.id)
        return earlier.payment if earlier else book.find(Payment, hold.payment_id)


@dataclass(frozen=True, slots=True)
class Earn(Command[Movement]):
    """Issue an earning from the treasury, once for its reference.

    Refused with ReferenceUsed, WalletClosed, AmountOverflow.
    """

    earning: Earning
    reference_owner: str
    audited: Recorded | None = field(default=None, kw_only=True)
    """The audit event that is recorded with it; None for none."""

    @property
    def needs(self) -> Needs:
        """The earner's wallet, the treasury, and the reference."""
        return Needs(
            users=(self.earning.user_id,),
            currencies=(self.earning.amount.currency,),
            system=(AccountKind.TREASURY,),
            references=((self.reference_owner, self.earning.reference),),
        )

    def decide(self, book: Book) -> Movement:
        """Post the earning, or find that it was posted before."""
        earning, amount = self.earning, self.earning.amount
        posting = book.posted(self.reference_owner, earning.reference)
        if posting is not None:
            owner = book.owner(earning.user_id)
            for entry in posting.entries:
                if owner and entry.account.owner_id == owner.id and entry.amount_minor == amount.amount_minor:
                    return Movement.of(posting, entry)
            raise ReferenceUsed
        transaction = Transaction(
            book.new_id(),
            TransactionType.EARN,
            reference=earning.reference,
            reference_owner=self.reference_owner,
            description=earning.description,
        )
        earner = AccountKey.wallet(book.open_wallet(earning.user_id).id, amount.currency)
        treasury = book.system(AccountKind.TREASURY, amount.currency)
        posting = book.post(transaction, Leg(treasury, -amount.amount_minor), Leg(earner, amount.amount_minor))
        if self.audited is not None:
            book.put(self.audited)
        return Movement.of(posting, posting.entry_of(earner))


@dataclass(frozen=True, slots=True)
class ReserveRefund(Command[Refund]):
    """Refund a payment, or reserve the refund of one that bought a course until Education has decided.

    Refused with PaymentNotFound, RefundWindowClosed, CurrencyMismatch, RefundExceedsPayment, RefundPending,
    PartialRefundNotAllowed, WalletClosed; and with Education's reason, once it has rejected the refund of this call.
    """

    payment_id: str
    amount: Money | None
    """None for all that is left."""
    reason: str
    user_id: str
    by_payer: bool
    """Whether the caller has no right to refund the payments of others."""
    call_digest: bytes
    """Digest of the keyed call, by which a retry finds its refund."""
    settle_after: timedelta
    audited: Recorded | None = field(default=None, kw_only=True)
    """The audit event that is recorded with it; None for none."""

    @property
    def needs(self) -> Needs:
        """The payment, the refund of this call, and the accounts that may be debited."""
        rows = ((Payment, self.payment_id), (Refund, self.call_digest.hex()))
        return Needs(rows=rows, system=DESTINATIONS)

    def decided(self, effect: Refund) -> bool:
        """Whether Education need not be asked any more."""
        return not effect.pending

    def decide(self, book: Book) -> Refund:
        """Post the refund, reserve it, or find what became of it."""
        refund = book.find(Refund, self.call_digest.hex())
        if refund is not None:
            if refund.state is RefundState.REJECTED:
                raise REJECTIONS[refund.rejection](refund_id=refund.id)
            return refund
        payment = book.find(Payment, self.payment_id)
        if payment is None or (self.by_payer and payment.payer.user_id != self.user_id):
            raise PaymentNotFound
        refund = Refund(
            id=book.new_id(),
            payment_id=payment.id,
            payer_id=payment.payer.user_id,
            amount=self._refundable(book, payment),
            reason=self.reason,
            by_payer=self.by_payer,
            state=RefundState.PENDING,
            rejection="",
            create_time=book.now,
            decide_time=None,
            call_digest=self.call_digest,
        )
        if book.account(payment.order.source(payment.payer)).state is AccountState.CLOSED:
            raise WalletClosed  # Before Education is asked: after its yes nothing may refuse the refund.
        if self.audited is not None:
            book.put(self.audited)
        reserved = replace(
            payment,
            pending_minor=payment.pending_minor + refund.amount.amount_minor,
            pending_refund_id=refund.id,
        )
        if not (payment.bought_course and refund.amount == payment.refundable):
            return _refund(book, reserved, refund)
        book.put(refund)
        book.put(reserved)
        job = SettleRefund(refund.id)
        book.enqueue(job, delay=self.settle_after, once=job.once)
        return refund

    def _refundable(self, book: Book, payment: Payment) -> Money:
        """Return the amount to refund: what was asked for, or all that is left."""
        if self.by_payer and payment.refundable_until <= book.now:
            raise RefundWindowClosed
        left = payment.refundable
        if self.amount is not None and self.amount.currency != left.currency:
            raise CurrencyMismatch(currency=left.currency)
        if left.amount_minor == 0 or (self.amount is not None and self.amount.amount_minor > left.amount_minor):
            if payment.pending_refund_id:
                raise RefundPending(refund_id=payment.pending_refund_id)
            raise RefundExceedsPayment(refundable_minor=left.amount_minor)
        if self.by_payer and payment.bought_course and self.amount not in (None, left):
            raise PartialRefundNotAllowed(refundable_minor=left.amount_minor)
        return self.amount or left


@dataclass(frozen=True, slots=True)
class DecideRefund(Command[None]):
    """Post or reject a pending refund, by what Education answered; nothing if that has been done."""

    refund_id: str
    payment_id: str
    rejection: str
    """Reason of a rejection; empty to post the refund."""

    @property
    def needs(self) -> Needs:
        """The refund and its payment."""
        return Needs(rows=((Payment, self.payment_id), (Refund, self.refund_id)), system=DESTINATIONS)

    def decide(self, book: Book) -> None:
        """Post or reject the refund."""
        payment, refund = book.find(Payment, self.payment_id), book.find(Refund, self.refund_id)
        if payment is None or refund is None or not refund.pending:
            return
        if not self.rejection:
            _refund(book, payment, refund)
            return
        pending = payment.pending_minor - refund.amount.amount_minor
        book.put(replace(payment, pending_minor=pending, pending_refund_id=""))
        book.put(replace(refund, state=RefundState.REJECTED, rejection=self.rejection, decide_time=book.now))


def _pay(
    book: Book, payer: Payer, order: Order, *, creator: str, refund_window: timedelta, held_minor: int = 0
) -> Payment:
    """Pay the order, using up `held_minor` of what the payer's wallet holds for it.

    Whether a webhook takes the event is read under the locks: a payment that nobody is told of writes no row for it.
    """
    payment_id, amount = book.new_id(), order.amount
    posting = book.post(
        Transaction(
            book.new_id(), TransactionType.PAYMENT, SourceKind.PAYMENT, payment_id, description=order.description
        ),
        Leg(order.source(payer), -amount.amount_minor, -held_minor),
        Leg(book.system(order.type.destination, amount.currency), amount.amount_minor),
    )
    payment = Payment(
        id=payment_id,
        payer=payer,
        order=order,
        creator=creator,
        refunded_minor=0,
        pending_minor=0,
        refundable_until=posting.create_time + refund_window,
        create_time=posting.create_time,
    )
    book.put(payment)
    if book.find(PaymentSubscription, payer.user_id):
        book.publish(PaymentCompleted(payment))
    return payment


def _refund(book: Book, payment: Payment, refund: Refund) -> Refund:
    """Pay a reserved refund back, whatever the state of the payer's wallet."""
    order, minor = payment.order, refund.amount.amount_minor
    posting = book.post(
        Transaction(refund.id, TransactionType.REFUND, SourceKind.PAYMENT, payment.id, description=refund.reason),
        Leg(book.system(order.type.destination, order.amount.currency), -minor),
        Leg(order.source(payment.payer), minor),
    )
    completed = replace(refund, state=RefundState.COMPLETED, decide_time=posting.create_time)
    refunded = payment.refunded_minor + minor
    book.put(
        replace(payment, refunded_minor=refunded, pending_minor=payment.pending_minor - minor, pending_refund_id="")
    )
    book.put(completed)
    in_full = refunded == order.amount.amount_minor
    book.publish(PaymentRefunded(payment.id, in_full, payment.payer.user_id, refund.id, refund.amount))
    return completed


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
