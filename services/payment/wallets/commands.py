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
from services.payment.ledger.model import AccountKind, AccountState, Leg, Transaction, TransactionType
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
        changed = record_state(book, status, self.state, actor_id=self.actor_id, reason=self.reason)
        if self.audited is not None:
            book.put(self.audited)
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


@dataclass(frozen=True, slots=True)
class ForfeitWallet(Command[None]):
    """Move what an erased person's wallet has to the treasury, and close the wallet, a frozen one too.

    Refused with WalletNotEmpty while something is held, WalletRefundPending.
    """

    wallet_id: str
    refunds: type[Refunding]
    """The class of refunds."""

    @property
    def needs(self) -> Needs:
        """The wallet, with all its accounts and the pending refunds to it, and the treasury."""
        return Needs(
            rows=((WalletStatus, self.wallet_id), (self.refunds, f"{REFUNDS_OF}{self.wallet_id}")),
            system=(AccountKind.TREASURY,),
        )

    def decide(self, book: Book) -> None:
        """Post a forfeiture in each currency with a balance, and record that the wallet is closed."""
        status = book.find(WalletStatus, self.wallet_id)
        if status is None or status.state is AccountState.CLOSED:
            return
        for refund in book.rows(self.refunds):
            if refund.pending and refund.payer_id == status.user_id:
                raise WalletRefundPending(refund_id=refund.id)
        accounts = book.accounts(status.id)
        # Whoever froze the wallet kept its balance from being spent; that is now the treasury's.
        book.set_state(status.id, AccountState.ACTIVE)
        for account in accounts:
            if account.held_minor:
                raise WalletNotEmpty(currency=account.key.currency)
            if account.posted_minor:
                book.post(
                    Transaction(book.new_id(), TransactionType.FORFEITURE),
                    Leg(account.key, -account.posted_minor),
                    Leg(book.system(AccountKind.TREASURY, account.key.currency), account.posted_minor),
                )
        record_state(book, status, AccountState.CLOSED, actor_id=status.user_id, reason="")


def record_state(book: Book, status: WalletStatus, state: AccountState, *, actor_id: str, reason: str) -> WalletStatus:
    """Put a wallet into another state, and record who did it, when and why. Return its new status."""
    last_time = status.last_change.change_time if status.last_change else book.now
    change = StateChange(status.id, status.revision + 1, state, actor_id, reason, max(book.now, last_time))
    changed = replace(status, state=state, last_change=change)
    book.set_state(status.id, state)
    book.put(changed)
    book.put(change)
    book.publish(WalletStateChanged(status.id, status.user_id, state, change.change_time))
    return changed


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
