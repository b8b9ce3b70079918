"""Writers over a store in memory, with the pure book; and the mistakes that writers make, each to be switched on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from services.payment.holds.commands import CreateHold, ReleaseHold
from services.payment.holds.model import Hold, Order, PaymentType
from services.payment.ledger.book import Book, Changes
from services.payment.ledger.debits import Conditions
from services.payment.ledger.model import AccountKey, Posting
from services.payment.payments.commands import CaptureHold, CreatePayment, Earn, ReserveRefund
from services.payment.payments.model import Earning
from services.payment.transfers.commands import BatchCreateTransfers, CreateTransfer
from services.payment.transfers.model import Target, TransferOrder
from services.shared.errors import DomainError
from services.shared.money import Money
from tests.support.books import NOW, UNLIMITED, numbered_ids
from tests.support.checker import UNKNOWN, Answer, SeenEntry

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from services.payment.ledger.book import Command
    from tests.support.checker import Call, History

LONG = timedelta(days=14)
BREAKS_CONSTRAINT = 3
"""Last digit of amounts whose holds the store refuses, as a database refuses a row."""


class Mutant(Enum):
    """A mistake of a writer."""

    NONE = auto()
    LOST_UPDATE = auto()
    """Accounts are read before the writer's turn."""
    ONE_LEG = auto()
    """Of some transactions one entry is written."""
    KEY_OUTSIDE = auto()
    """Keys are looked up before the transaction."""
    REPLAY_WITH_NEW_ID = auto()
    """A replay is answered with another ID."""
    HALF_GROUP = auto()
    """Of a group that is answered, half is committed."""
    ANSWER_BEFORE_COMMIT = auto()
    """A group is answered, and then its commit fails."""
    CONSTRAINT = auto()
    """A row that the store refuses takes its group along, which is answered nevertheless."""
    LOCK_AND_READ = auto()
    """Holds are read in the snapshot from before the lock."""
    HALF_BATCH = auto()
    """Of a batch with a transfer that is refused, the others are made."""


class ConstraintViolated(Exception):
    """The store refused a row."""


@dataclass(slots=True)
class MemoryLedger:
    """Two writers on one store. Each round they commit one group each, one after another."""

    mutant: Mutant = Mutant.NONE
    stored: Changes = field(default_factory=Changes)
    keys: dict[str, Answer] = field(default_factory=dict)
    commits: int = 0
    new_id: Any = field(default_factory=numbered_ids)

    async def round(self, history: History, chance: random.Random, *, size: int) -> None:
        """Send calls at random to both writers at once, some of them to both."""
        groups: list[list[Call]] = [[history.choose(chance) for _ in range(size)] for _ in range(2)]
        groups[1] += groups[0][: size // 4]
        befores = [self._read(), self._read()]
        keys = dict(self.keys)
        for group, before in zip(groups, befores, strict=True):
            for call, answer in self._execute(group, before, keys):
                history.record(call, answer)

    async def send(self, call: Call) -> Answer:
        """Send one call, alone."""
        ((_, answer),) = self._execute([call], self._read(), self.keys)
        return answer

    async def entries(self) -> Sequence[SeenEntry]:
        """Return all entries."""
        return [
            SeenEntry(
                entry.account.id,
                entry.account.owner_id,
                entry.sequence,
                posting.transaction.id,
                entry.account.currency,
                entry.amount_minor,
                entry.balance_after_minor,
                posting.transaction.type,
                posting.transaction.source_id or "",
            )
            for posting in self.stored.postings
            for entry in posting.entries
        ]

    async def balance(self, user: str) -> tuple[str, int, int, int]:
        """Return a user's balance."""
        owner = self.stored.owners.get(user)
        account = self.stored.accounts.get(AccountKey.wallet(owner.id, "AZR").id) if owner else None
        if owner is None or account is None:
            return "", 0, 0, 0
        return owner.id, account.posted_minor, account.held_minor, account.available_minor

    async def verify(self) -> Sequence[str]:
        """Find nothing: the checker is to find it by itself."""
        return ()

    def _read(self) -> Changes:
        snapshot = Changes()
        snapshot.merge(self.stored)
        return snapshot

    def _execute(self, group: list[Call], before: Changes, keys: dict[str, Answer]) -> list[tuple[Call, Answer]]:
        loaded = self._read()
        if self.mutant is Mutant.LOST_UPDATE:
            loaded.accounts = before.accounts
        if self.mutant is Mutant.LOCK_AND_READ:
            loaded.rows[Hold] = before.rows[Hold]
        known = keys if self.mutant is Mutant.KEY_OUTSIDE else self.keys
        book = Book(loaded, now=NOW, new_id=self.new_id, new_salt=lambda: bytes(16))
        answers = [(call, self._decide(book, call, known)) for call in group]
        try:
            self._commit(book, loaded, group, answers)
        except ConstraintViolated:
            if self.mutant is Mutant.CONSTRAINT:
                return answers
            if len(group) == 1:
                return [(group[0], Answer(refusal=UNKNOWN))]
            middle = len(group) // 2
            return [
                *self._execute(group[:middle], before, keys),
                *self._execute(group[middle:], before, keys),
            ]
        return answers

    def _decide(self, book: Book, call: Call, known: dict[str, Answer]) -> Answer:
        if call.key in known:
            if self.mutant is Mutant.REPLAY_WITH_NEW_ID and known[call.key].id:
                return Answer(self.new_id())
            return known[call.key]
        try:
            made: Any = book.attempt(_command(call, partial=self.mutant is Mutant.HALF_BATCH).decide)
        except DomainError as refused:
            return Answer(refusal=refused.reason)
        return Answer((made[1] if isinstance(made, tuple) else made).id)

    def _commit(self, book: Book, loaded: Changes, group: list[Call], answers: list[tuple[Call, Answer]]) -> None:
        changed = book.changed
        held = [hold.held_minor for id_, hold in changed.rows[Hold].items() if id_ not in loaded.rows[Hold]]
        if any(amount % 10 == BREAKS_CONSTRAINT for amount in held):
            raise ConstraintViolated
        self.commits += 1
        if self.mutant is Mutant.ANSWER_BEFORE_COMMIT and self.commits % 3 == 0:
            return
        if self.mutant is Mutant.HALF_GROUP and len(group) > 1:
            half = Book(loaded, now=NOW, new_id=self.new_id, new_salt=lambda: bytes(16))
            for call in group[: len(group) // 2]:
                self._decide(half, call, self.keys)
            changed = half.changed
        if self.mutant is Mutant.ONE_LEG and len(changed.postings) > 1:
            changed.postings[1] = _one_leg(changed.postings[1])
        self.stored.merge(changed)
        self.stored.accounts = {id_: replace(account, opened=True) for id_, account in self.stored.accounts.items()}
        for call, answer in answers:
            self.keys.setdefault(call.key, answer)


def _one_leg(posting: Posting) -> Posting:
    return replace(posting, entries=posting.entries[:1])


def _command(call: Call, *, partial: bool) -> Command[Any]:
    order = Order(PaymentType.DONATION, Money(call.amount or 1))
    orders = tuple(TransferOrder(Target(user_id=user), Money(minor)) for user, minor in call.transfers)
    command: Command[Any]
    match call.kind:
        case "earn":
            command = Earn(Earning(call.user, order.amount, call.key, ""), "education")
        case "pay":
            command = CreatePayment(call.user, "", order, LONG)
        case "hold":
            command = CreateHold(call.user, "", order, LONG)
        case "capture":
            command = CaptureHold(call.target, call.user, "", None, LONG)
        case "release":
            command = ReleaseHold(call.target, call.user, "")
        case "transfer":
            command = CreateTransfer(call.user, orders[0], Conditions(), UNLIMITED)
        case "batch":
            command = BatchCreateTransfers(call.user, orders, Conditions(), UNLIMITED, partial)
        case _:
            command = ReserveRefund(call.target, order.amount, "", call.user, True, call.key.encode(), LONG)
    return command
