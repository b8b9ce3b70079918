"""What is done with wallets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from services.payment.errors import (
    EtagMismatch,
    InsufficientFunds,
    WalletClosed,
    WalletNotEmpty,
    WalletNotFound,
    WalletRefundPending,
)
from services.payment.ledger.book import Command, Needs, Row
from services.payment.ledger.model import AccountState
from services.payment.wallets.model import (
    REFUNDS_OF,
    Balance,
    Payer,
    StateChange,
    Wallet,
    WalletStateChanged,
    WalletStatus,
)

if TYPE_CHECKING:
    from services.payment.ledger.book import Book
    from services.shared.audit.model import Recorded


class Refunding(Row, Protocol):
    """A refund, as far as a wallet cannot be closed while one is pending."""

    @property
    def payer_id(self) -> str:
        """User ID of the payer, whose wallet is credited."""
        ...

    @property
    def pending(self) -> bool:
        """Whether it is yet to be decided."""
        ...


@dataclass(frozen=True, slots=True)
class ChangeWalletState(Command[Wallet]):
    """Put a wallet into another state: no effect if it is in that state already.

    Refused with WalletNotFound, EtagMismatch, WalletClosed.
    """

    wallet_id: str
    state: AccountState
    actor_id: str
    """User ID of the administrator."""
    reason: str
    etag: str
    """The etag that the wallet must have; empty for any."""
    audited: Recorded | None = field(default=None, kw_only=True)
    """The audit event that is recorded with it; None for none."""

    @property
    def needs(self) -> Needs:
        """The wallet, with all its accounts."""
        return Needs(rows=((WalletStatus, self.wallet_id),))

    def decide(self, book: Book) -> Wallet:
        """Change the state, and record who did it, when and why."""
        status = book.find(WalletStatus, self.wallet_id)
        if status is None:
            raise WalletNotFound
        wallet = read_wallet(book, status)
        if self.etag and self.etag != wallet.etag:
            raise EtagMismatch
        if status.state is self.state:
            return wallet
        if status.state is AccountState.CLOSED:
            raise WalletClosed
        self.check(book, wallet, status)
        last_time = status.last_change.change_time if status.last_change else book.now
        change = StateChange(
            status.id, status.revision + 1, self.state, self.actor_id, self.reason, max(book.now, last_time)
        )
        changed = replace(status, state=self.state, last_change=change)
        book.set_state(status.id, self.state)
        book.put(changed)
        book.put(change)
        if self.audited is not None:
            book.put(self.audited)
        book.publish(WalletStateChanged(status.id, status.user_id, self.state, change.change_time))
        return read_wallet(book, changed)

    def check(self, book: Book, wallet: Wallet, status: WalletStatus) -> None:
        """Refuse a state that the wallet is not fit for."""


@dataclass(frozen=True, slots=True)
class CloseWallet(ChangeWalletState):
    """Close an empty wallet. Refused with WalletNotEmpty, WalletRefundPending as well."""

    refunds: type[Refunding]
    """The class of refunds."""

    @property
    def needs(self) -> Needs:
        """The wallet, with all its accounts and the pending refunds to it."""
        return Needs(rows=((WalletStatus, self.wallet_id), (self.refunds, f"{REFUNDS_OF}{self.wallet_id}")))

    def check(self, book: Book, wallet: Wallet, status: WalletStatus) -> None:
        """Refuse to close a wallet to which anything belongs. What is held is posted too."""
        for balance in wallet.balances:
            if balance.posted_minor:
                raise WalletNotEmpty(currency=balance.currency)
        for refund in book.rows(self.refunds):
            if refund.pending and refund.payer_id == status.user_id:
                raise WalletRefundPending(refund_id=refund.id)


def read_wallet(book: Book, status: WalletStatus) -> Wallet:
    """Return a wallet with the balances of its loaded accounts: all that it has, if a command needs its status."""
    accounts = book.accounts(status.id)
    return Wallet(
        status,
        tuple(
            Balance(account.key.currency, account.posted_minor, account.held_minor, account.sequence)
            for account in accounts
        ),
    )


def find_payer(book: Book, user_id: str, currency: str) -> Payer:
    """Return the user's wallet that is to be debited. Raises InsufficientFunds for one that has not been opened."""
    owner = book.owner(user_id)
    if owner is None:
        raise InsufficientFunds(currency=currency)
    return Payer(user_id, owner.id)
