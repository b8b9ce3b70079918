"""What is done with wallets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.payment.errors import InsufficientFunds
from services.payment.ledger.book import Command, Needs
from services.payment.ledger.model import Owner
from services.payment.wallets.model import Payer

if TYPE_CHECKING:
    from services.payment.ledger.book import Book


@dataclass(frozen=True, slots=True)
class OpenWallet(Command[Owner]):
    """Open a user's wallet, if it has not been opened yet."""

    user_id: str

    @property
    def needs(self) -> Needs:
        """The user's wallet."""
        return Needs(users=(self.user_id,))

    def decide(self, book: Book) -> Owner:
        """Open the wallet."""
        return book.open_wallet(self.user_id)


def find_payer(book: Book, user_id: str, currency: str) -> Payer:
    """Return the user's wallet that is to be debited. Raises InsufficientFunds for one that has not been opened."""
    owner = book.owner(user_id)
    if owner is None:
        raise InsufficientFunds(currency=currency)
    return Payer(user_id, owner.id)
