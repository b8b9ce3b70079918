"""Any sequence of commands, in groups of any size, against a model that is too simple to be wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis.stateful import invariant

from services.payment.holds.model import Hold, HoldState
from services.payment.ledger import chain
from services.payment.ledger.book import Book, Changes, index
from services.payment.ledger.model import GENESIS, AccountKey, AccountKind, Leg, Posting
from services.payment.wallets.model import WalletStatus
from services.shared.errors import DomainError
from tests.support.books import NOW, numbered_ids
from tests.support.ledger_rules import LedgerRules, Refusal

if TYPE_CHECKING:
    from services.payment.ledger.book import Command


class LedgerMachine(LedgerRules):
    """The book."""

    def __init__(self) -> None:
        super().__init__()
        self.new_id = numbered_ids()
        self.stored = Changes()
        self.book = self.begin()

    def begin(self) -> Book:
        """Begin a group: what has expired by now is released."""
        now = NOW + timedelta(seconds=self.seconds)
        holds = self.stored.rows[Hold].values()
        expired = [hold for hold in holds if hold.state is HoldState.ACTIVE and hold.expire_time <= now]
        stripe = self.seconds % 2
        return Book(
            self.stored, now=now, new_id=self.new_id, new_salt=lambda: bytes(16), stripe=stripe, expired=expired
        )

    def run(self, command: Command[Any]) -> Any:
        """Decide in the group."""
        try:
            return self.book.attempt(command.decide)
        except DomainError as refused:
            raise Refusal(refused.reason) from refused

    def pass_time(self, seconds: int) -> None:
        """Commit the group and begin another one later."""
        self.stored.merge(self.book.changed)
        self.stored.accounts = {
            account_id: replace(account, opened=True) for account_id, account in self.stored.accounts.items()
        }
        later, self.seconds = self.seconds, self.seconds + seconds
        self.book = self.begin()
        self.seconds = later

    def balance(self, user: str) -> tuple[int, int]:
        """Read the account in the group."""
        owner = self.book.owner(user)
        if owner is None:
            return 0, 0
        account = self.book.account(AccountKey.wallet(owner.id, "AZR"))
        return account.posted_minor, account.available_minor

    def wallet(self, user: str) -> tuple[str, str]:
        """Read the account in the group; what is loaded of the wallet stands in what is stored."""
        owner = self.book.owner(user)
        assert owner
        if self.book.find(WalletStatus, owner.id) is None:
            index(self.stored.rows[WalletStatus], [WalletStatus(owner.id, user, owner.create_time)])
        return owner.id, self.book.account(AccountKey.wallet(owner.id, "AZR")).etag

    @invariant()
    def money_is_conserved(self) -> None:
        """Add all accounts up."""
        accounts = {**self.stored.accounts, **self.book.changed.accounts}
        assert sum(account.posted_minor for account in accounts.values()) == 0

    @invariant()
    def every_chain_can_be_recomputed(self) -> None:
        """Run through the entries of each account, without a gap, from nothing to its head and balance."""
        heads: dict[str, tuple[int, int, bytes]] = {}
        for posting in [*self.stored.postings, *self.book.changed.postings]:
            recompute(posting, heads)
        for account_id, account in {**self.stored.accounts, **self.book.changed.accounts}.items():
            stands = heads.get(account_id, (0, 0, GENESIS))
            assert stands == (account.sequence, account.posted_minor, account.head)


def recompute(posting: Posting, heads: dict[str, tuple[int, int, bytes]]) -> None:
    """Take a posting's entries to the ends of their accounts' chains."""
    legs = [Leg(entry.account, entry.amount_minor) for entry in posting.entries]
    assert sum(leg.amount_minor for leg in legs) == 0
    memo = chain.memo_digest(posting.salt, posting.transaction.description)
    digest = chain.transaction_digest(posting.transaction, legs, memo=memo, create_time=posting.create_time)
    for entry in posting.entries:
        sequence, balance, head = heads.get(entry.account.id, (0, 0, GENESIS))
        sequence, balance = sequence + 1, balance + entry.amount_minor
        head = chain.entry_hash(
            head,
            digest,
            account_id=entry.account.id,
            sequence=sequence,
            amount_minor=entry.amount_minor,
            balance_after_minor=balance,
        )
        assert (entry.sequence, entry.balance_after_minor, entry.hash) == (sequence, balance, head)
        assert balance >= 0 or entry.account.kind is not AccountKind.WALLET
        heads[entry.account.id] = sequence, balance, head


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, database=None)
TestLedger = LedgerMachine.TestCase
