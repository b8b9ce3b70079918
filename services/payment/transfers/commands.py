"""What is done with transfers.

A batch posts a transaction for each of its transfers, not one with all their legs. Every transfer has an ID, a
description and a counterparty of its own, in the histories of both wallets; a recipient may occur twice, which a
transaction's legs may not; and nobody needs the entries of others to verify their own. That all are posted or none is
the command's doing: what it has posted is dropped when it raises.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.payment.errors import SelfTransfer, TargetWalletNotFound
from services.payment.ledger.book import Command, Needs
from services.payment.ledger.debits import Terms, check_etag, debiting
from services.payment.ledger.model import AccountKey, Leg, SourceKind, Transaction, TransactionType
from services.payment.transfers.model import Batch, TargetWallet, Transfer, TransferCompleted
from services.payment.wallets.commands import find_payer
from services.shared.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from services.payment.ledger.book import Book
    from services.payment.ledger.debits import Conditions, VelocityLimits
    from services.payment.transfers.model import Target, TransferOrder


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """Velocity limits of transfers: lower ones for new wallets."""

    limits: VelocityLimits
    new_wallet_age: timedelta
    """Age, from its opening, below which a wallet is new."""
    new_wallet_max_amount: int | None = None
    """Maximum that the debits of a new wallet may sum to after a transfer, per window; None for no lower limit."""

    def of_wallet(self, age: timedelta) -> VelocityLimits:
        """Return the limits of a wallet of this age."""
        if self.new_wallet_max_amount is None or age >= self.new_wallet_age:
            return self.limits
        return replace(self.limits, max_amount=min(self.limits.max_amount, self.new_wallet_max_amount))


@dataclass(frozen=True, slots=True)
class CreateTransfer(Command[Transfer]):
    """Transfer from a user's wallet to another user's.

    Refused with InsufficientFunds, WalletFrozen, WalletClosed, SelfTransfer, TargetWalletNotFound, AmountOverflow, or
    by its terms.
    """

    user_id: str
    order: TransferOrder
    conditions: Conditions
    limits: TransferLimits

    @property
    def needs(self) -> Needs:
        """Both wallets' accounts."""
        return _needs(self.user_id, [self.order])

    def decide(self, book: Book) -> Transfer:
        """Post the transfer."""
        return _transfer(book, self.user_id, self.order, self.conditions, self.limits)


@dataclass(frozen=True, slots=True)
class BatchCreateTransfers(Command[Batch]):
    """Transfer from a user's wallet to others, in one currency.

    If `partial`, each transfer has its own result; else the first refusal is that of the command, with the number of
    its transfer, from 0, as `index` in its metadata. The etag is that of the balance before the first transfer: if it
    differs, all are refused. The minimum is checked after each.
    """

    user_id: str
    orders: tuple[TransferOrder, ...]
    conditions: Conditions
    limits: TransferLimits
    partial: bool

    @property
    def needs(self) -> Needs:
        """The accounts of all the wallets."""
        return _needs(self.user_id, self.orders)

    def decide(self, book: Book) -> Batch:
        """Post the transfers."""
        owner, currency = book.owner(self.user_id), self.orders[0].amount.currency
        if owner is not None:
            check_etag(book.account(AccountKey.wallet(owner.id, currency)), self.conditions)
        batch_id = book.new_id()
        return Batch(
            batch_id, tuple(self._result(book, batch_id, index, order) for index, order in enumerate(self.orders))
        )

    def _result(self, book: Book, batch_id: str, index: int, order: TransferOrder) -> Transfer | DomainError:
        conditions = replace(self.conditions, etag="")

        def attempt(overlay: Book) -> Transfer:
            return _transfer(overlay, self.user_id, order, conditions, self.limits, batch_id=batch_id)

        try:
            return book.attempt(attempt)
        except DomainError as refused:
            if self.partial:
                return refused
            refused.metadata["index"] = str(index)
            raise


def _needs(user_id: str, orders: Sequence[TransferOrder]) -> Needs:
    currency = orders[0].amount.currency
    wallets = {order.target.wallet_id for order in orders} - {""}
    users = {user_id, *(order.target.user_id for order in orders)} - {""}
    return Needs(
        users=tuple(users),
        currencies=(currency,),
        accounts=tuple(AccountKey.wallet(wallet_id, currency) for wallet_id in wallets),
        rows=tuple((TargetWallet, wallet_id) for wallet_id in wallets),
        postings=len(orders),
    )


def _transfer(
    book: Book,
    user_id: str,
    order: TransferOrder,
    conditions: Conditions,
    limits: TransferLimits,
    *,
    batch_id: str = "",
) -> Transfer:
    currency, minor = order.amount.currency, order.amount.amount_minor
    target = _target(book, user_id, order.target)
    payer = find_payer(book, user_id, currency)
    owner = book.open_wallet(user_id)
    debited, credited = AccountKey.wallet(payer.wallet_id, currency), AccountKey.wallet(target.id, currency)
    with debiting(book, debited, Terms(conditions, limits.of_wallet(book.now - owner.create_time))):
        posting = book.post(
            Transaction(
                book.new_id(),
                TransactionType.TRANSFER,
                SourceKind.TRANSFER_BATCH if batch_id else None,
                batch_id or None,
                description=order.description,
            ),
            Leg(debited, -minor),
            Leg(credited, minor),
        )
    transfer = Transfer(
        posting.transaction.id, payer, target, order.amount, order.description, posting.create_time, batch_id
    )
    book.publish(TransferCompleted(transfer))
    return transfer


def _target(book: Book, user_id: str, target: Target) -> TargetWallet:
    """Return the wallet to credit; a user's is opened if need be. Raises SelfTransfer, TargetWalletNotFound."""
    if target.user_id == user_id:
        raise SelfTransfer
    if target.user_id:
        return TargetWallet(book.open_wallet(target.user_id).id, target.user_id)
    found = book.find(TargetWallet, target.wallet_id)
    if found is None:
        raise TargetWalletNotFound
    if found.user_id == user_id:
        raise SelfTransfer
    return found
