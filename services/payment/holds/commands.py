"""What is done with holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.payment.errors import HoldNotActive, HoldNotFound
from services.payment.holds.model import Hold, HoldState
from services.payment.ledger.book import Command, Needs
from services.payment.ledger.debits import FREELY, Terms, debiting
from services.payment.wallets.commands import find_payer

if TYPE_CHECKING:
    from datetime import timedelta

    from services.payment.holds.model import Order
    from services.payment.ledger.book import Book


@dataclass(frozen=True, slots=True)
class CreateHold(Command[Hold]):
    """Hold the order's amount. Refused with InsufficientFunds, WalletFrozen, or by its terms."""

    user_id: str
    creator: str
    order: Order
    expire_after: timedelta
    terms: Terms = FREELY

    @property
    def needs(self) -> Needs:
        """The wallet's account."""
        return Needs(users=(self.user_id,), currencies=(self.order.amount.currency,))

    def decide(self, book: Book) -> Hold:
        """Hold the amount."""
        payer = find_payer(book, self.user_id, self.order.amount.currency)
        account = self.order.source(payer)
        with debiting(book, account, self.terms):
            book.hold(account, self.order.amount.amount_minor)
        hold = Hold(
            id=book.new_id(),
            payer=payer,
            order=self.order,
            creator=self.creator,
            state=HoldState.ACTIVE,
            captured_minor=0,
            expire_time=book.now + self.expire_after,
            payment_id="",
            create_time=book.now,
        )
        book.put(hold)
        return hold


@dataclass(frozen=True, slots=True)
class ReleaseHold(Command[Hold]):
    """Release a hold; one that expired is released already. Refused with HoldNotFound, HoldNotActive."""

    hold_id: str
    user_id: str
    creator: str

    @property
    def needs(self) -> Needs:
        """The hold."""
        return Needs(rows=((Hold, self.hold_id),))

    def decide(self, book: Book) -> Hold:
        """Release the hold."""
        hold = find_hold(book, self.hold_id, user_id=self.user_id, creator=self.creator)
        if hold.state is HoldState.EXPIRED:
            return hold
        if hold.state is not HoldState.ACTIVE:
            raise HoldNotActive
        book.hold(hold.account, -hold.held_minor)
        released = replace(hold, state=HoldState.RELEASED)
        book.put(released)
        return released


def find_hold(book: Book, hold_id: str, *, user_id: str, creator: str) -> Hold:
    """Return a hold. Raises HoldNotFound.

    A hold belongs to who created it: the wallet's owner neither captures nor releases what a service holds.
    """
    hold = book.find(Hold, hold_id)
    if hold is None or (hold.payer.user_id, hold.creator) != (user_id, creator):
        raise HoldNotFound
    return hold
