"""The book: the accounts, holds and other rows that a group of commands needs, and what they decide on them.

Pure: no SQL, no clock, and no randomness but what the book is given. A command decides on an overlay, which is merged
when `decide` returns and dropped when it raises: a refused command has changed nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from services.payment.errors import AmountOverflow, InsufficientFunds, WalletClosed, WalletFrozen
from services.payment.ledger import chain
from services.payment.ledger.model import Account, AccountKey, AccountKind, AccountState, Entry, Owner, Posting
from services.shared.money import INT64_MAX, INT64_MIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from services.payment.ledger.model import Leg, Transaction

Effect = TypeVar("Effect")
Effect_co = TypeVar("Effect_co", covariant=True)


class Row(Protocol):
    """A row beside the accounts that commands read and write: a hold, a payment."""

    @property
    def id(self) -> str:
        """Primary key."""
        ...


class Expiring(Row, Protocol):
    """A row that holds an amount of an account until it expires."""

    @property
    def account(self) -> AccountKey:
        """The account."""
        ...

    @property
    def held_minor(self) -> int:
        """Amount held."""
        ...

    def expired(self) -> Self:
        """Return the row after its expiry."""
        ...


AnyRow = TypeVar("AnyRow", bound=Row)


@dataclass(frozen=True, slots=True)
class Needs:
    """What is locked and loaded before a command decides."""

    users: tuple[str, ...] = ()
    """Users whose wallets it touches, in each of `currencies`."""
    currencies: tuple[str, ...] = ()
    accounts: tuple[AccountKey, ...] = ()
    """Accounts that are known already."""
    system: tuple[AccountKind, ...] = ()
    """System accounts that it posts to, in the currencies of its other accounts."""
    rows: tuple[tuple[type[Any], str], ...] = ()
    """Rows by class and key. The wallet account of a hold or payment is locked with it."""
    references: tuple[tuple[str, str], ...] = ()
    """Owners and references of transactions."""
    postings: int = 1
    """Number of transactions that it posts at most."""


class Command(ABC, Generic[Effect_co]):
    """Something to be done with the ledger. Subclasses are frozen dataclasses."""

    @property
    @abstractmethod
    def needs(self) -> Needs:
        """What is locked and loaded before it decides."""

    @abstractmethod
    def decide(self, book: Book) -> Effect_co:
        """Post to the book and return the effect. Raises DomainError to refuse; what was posted is then dropped."""

    def decided(self, effect: Any) -> bool:  # noqa: ARG002 - for subclasses
        """Whether the effect is final, so that an idempotency key keeps its answer."""
        return True


@dataclass(frozen=True, slots=True)
class EnqueuedJob:
    """A background job that is enqueued with the commit."""

    payload: Any
    delay: timedelta
    once: str | None


@dataclass(slots=True)
class Changes:
    """One layer of the book: accounts, rows and postings by what they are found by."""

    accounts: dict[str, Account] = field(default_factory=dict)
    """By ID."""
    owners: dict[str, Owner] = field(default_factory=dict)
    """Wallets by user ID."""
    states: dict[str, AccountState] = field(default_factory=dict)
    """States that wallets were put into, by wallet ID."""
    rows: dict[type[Any], dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))
    """By class, then by ID or another key of the row."""
    references: dict[tuple[str, str], Posting] = field(default_factory=dict)
    """Postings by owner and reference."""
    postings: list[Posting] = field(default_factory=list)
    events: list[object] = field(default_factory=list)
    jobs: list[EnqueuedJob] = field(default_factory=list)

    def merge(self, newer: Changes) -> None:
        """Take over what a newer layer changed."""
        self.accounts.update(newer.accounts)
        self.owners.update(newer.owners)
        self.states.update(newer.states)
        for kind, rows in newer.rows.items():
            self.rows[kind].update(rows)
        self.references.update(newer.references)
        self.postings += newer.postings
        self.events += newer.events
        self.jobs += newer.jobs


class Book:
    """What is locked and loaded for a group of commands, under what they have changed so far.

    `now` is the database's clock, read under the locks. `stripe` numbers the system accounts of this writer.
    `states` are those of the wallets, by wallet ID, in which accounts may be opened.
    """

    def __init__(
        self,
        loaded: Changes,
        *,
        now: datetime,
        new_id: Callable[[], str],
        new_salt: Callable[[], bytes],
        stripe: int = 0,
        states: Mapping[str, AccountState] | None = None,
        expired: Sequence[Expiring] = (),
    ) -> None:
        self.now = now
        self.new_id = new_id
        self._new_salt = new_salt
        self._stripe = stripe
        self._states = dict(states or {})
        self.loaded = loaded
        self.changed = Changes()
        """What all commands that were not refused have changed."""
        self._layers = [loaded, self.changed]
        for row in expired:
            account = self.account(row.account)
            self.update(replace(account, held_minor=account.held_minor - row.held_minor))
            self.put(row.expired())

    def attempt(self, decide: Callable[[Book], Effect]) -> Effect:
        """Run `decide` on an overlay, merged when it returns and dropped when it raises. May be nested."""
        overlay = Changes()
        self._layers.append(overlay)
        try:
            effect = decide(self)
        finally:
            self._layers.pop()
        self._layers[-1].merge(overlay)
        return effect

    def quote(self, decide: Callable[[Book], Effect]) -> Effect:
        """Run `decide` on an overlay that is dropped, whatever happens; what it would create has no ID."""
        self._layers.append(Changes())
        new_id, self.new_id = self.new_id, str
        try:
            return decide(self)
        finally:
            self.new_id = new_id
            self._layers.pop()

    def owner(self, user_id: str) -> Owner | None:
        """Return the user's wallet, or None if it has not been opened."""
        for layer in reversed(self._layers):
            if user_id in layer.owners:
                return layer.owners[user_id]
        return None

    def open_wallet(self, user_id: str) -> Owner:
        """Return the user's wallet, opened if need be."""
        owner = self.owner(user_id)
        if owner is None:
            owner = self._layers[-1].owners[user_id] = Owner(self.new_id(), user_id, self.now)
        return owner

    def system(self, kind: AccountKind, currency: str) -> AccountKey:
        """Return this writer's stripe of a system account."""
        return AccountKey.system(kind, self._stripe, currency)

    def account(self, key: AccountKey) -> Account:
        """Return an account as it stands now; one that was not opened yet is empty."""
        account_id = key.id
        for layer in reversed(self._layers):
            if account_id in layer.accounts:
                return layer.accounts[account_id]
        return Account(key, self._state(key.owner_id), opened=False)

    def accounts(self, owner_id: str) -> list[Account]:
        """Return the accounts of a wallet that are loaded, by currency."""
        loaded = (account.key for layer in self._layers for account in layer.accounts.values())
        keys = {key.currency: key for key in loaded if key.owner_id == owner_id and key.kind is AccountKind.WALLET}
        return [self.account(keys[currency]) for currency in sorted(keys)]

    def set_state(self, owner_id: str, state: AccountState) -> None:
        """Put a wallet's accounts into its state, those that are not opened yet included."""
        top = self._layers[-1]
        top.states[owner_id] = state
        for account in self.accounts(owner_id):
            top.accounts[account.key.id] = replace(account, state=state)

    def time(self, key: AccountKey) -> datetime:
        """Return the time of what happens to an account now: the clock, never before the account's last entry."""
        return max(self.now, self.account(key).post_time or self.now)

    def update(self, account: Account) -> None:
        """Write an account without posting to it. Raises InsufficientFunds, AmountOverflow."""
        _check_balance(account.key, account.posted_minor, account.held_minor)
        self._layers[-1].accounts[account.key.id] = account

    def find(self, kind: type[AnyRow], key: str) -> AnyRow | None:
        """Return a row by its ID or another key, or None."""
        for layer in reversed(self._layers):
            rows = layer.rows.get(kind)
            if rows and key in rows:
                row: AnyRow = rows[key]
                return row
        return None

    def rows(self, kind: type[AnyRow]) -> list[AnyRow]:
        """Return all rows of a kind that are loaded or new."""
        found: dict[str, AnyRow] = {}
        for layer in self._layers:
            found.update({row.id: row for row in layer.rows.get(kind, {}).values()})
        return list(found.values())

    def put(self, row: Row) -> None:
        """Write a row: a new one, or a changed one that was loaded."""
        index(self._layers[-1].rows[type(row)], [row])

    def posted(self, owner: str, reference: str) -> Posting | None:
        """Return the transaction of a reference, or None."""
        key = owner, reference
        return next((layer.references[key] for layer in reversed(self._layers) if key in layer.references), None)

    def publish(self, event: object) -> None:
        """Publish an event with the commit."""
        self._layers[-1].events.append(event)

    def enqueue(self, payload: object, *, delay: timedelta, once: str | None = None) -> None:
        """Enqueue a background job with the commit."""
        self._layers[-1].jobs.append(EnqueuedJob(payload, delay, once))

    def hold(self, key: AccountKey, amount_minor: int) -> None:
        """Hold this much more of an account; a negative amount is released.

        Raises InsufficientFunds, WalletFrozen, WalletClosed.
        """
        account = self.account(key)
        _check_state(account, debits=amount_minor > 0)
        self.update(replace(account, held_minor=account.held_minor + amount_minor))

    def post(self, transaction: Transaction, *legs: Leg) -> Posting:
        """Post a transaction with two or more legs, on different accounts, that sum to zero in each currency.

        Its time is the greatest of the clock and the times of the accounts' last entries: by time and by sequence, an
        account's entries have one order. Raises InsufficientFunds, AmountOverflow, WalletFrozen, WalletClosed;
        ValueError for legs that are not a transaction.
        """
        _check_legs(legs)
        accounts = [self.account(leg.account) for leg in legs]
        create_time = self.now
        for account in accounts:
            if account.post_time is not None and account.post_time > create_time:
                create_time = account.post_time
        salt = self._new_salt() if transaction.description else b""
        memo = chain.memo_digest(salt, transaction.description)
        digest = chain.transaction_digest(transaction, legs, memo=memo, create_time=create_time)
        changed = [_posted(account, leg, digest, create_time) for account, leg in zip(accounts, legs, strict=True)]
        top = self._layers[-1]
        entries = []
        for account, leg in zip(changed, legs, strict=True):
            top.accounts[leg.account.id] = account
            entries.append(Entry(leg.account, account.sequence, leg.amount_minor, account.posted_minor, account.head))
        posting = Posting(transaction, create_time, salt, tuple(entries))
        top.postings.append(posting)
        if transaction.reference is not None and transaction.reference_owner is not None:
            top.references[transaction.reference_owner, transaction.reference] = posting
        return posting

    def _state(self, owner_id: str) -> AccountState:
        changed = (layer.states[owner_id] for layer in reversed(self._layers) if owner_id in layer.states)
        return next(changed, self._states.get(owner_id, AccountState.ACTIVE))


def index(rows: dict[str, Any], found: Iterable[Any]) -> None:
    """Add rows under their IDs and their other keys."""
    for row in found:
        rows[row.id] = row
        for alias in getattr(row, "aliases", ()):
            rows[alias] = row


def _posted(account: Account, leg: Leg, digest: bytes, create_time: datetime) -> Account:
    _check_state(account, debits=leg.amount_minor < leg.held_minor)
    posted, held = account.posted_minor + leg.amount_minor, account.held_minor + leg.held_minor
    _check_balance(account.key, posted, held)
    sequence = account.sequence + 1
    head = chain.entry_hash(
        account.head,
        digest,
        account_id=account.key.id,
        sequence=sequence,
        amount_minor=leg.amount_minor,
        balance_after_minor=posted,
    )
    return Account(
        account.key, account.state, posted, held, sequence, head, create_time, account.velocity, account.opened
    )


def _check_state(account: Account, *, debits: bool) -> None:
    """Refuse to lower the available balance of a frozen wallet, and to change a closed one at all."""
    if account.state is AccountState.CLOSED:
        raise WalletClosed
    if debits and account.state is AccountState.FROZEN:
        raise WalletFrozen


def _check_balance(key: AccountKey, posted_minor: int, held_minor: int) -> None:
    if posted_minor < held_minor and key.kind is AccountKind.WALLET:
        raise InsufficientFunds(currency=key.currency)
    if not INT64_MIN <= posted_minor <= INT64_MAX:
        raise AmountOverflow


def _check_legs(legs: Sequence[Leg]) -> None:
    sums: dict[str, int] = {}
    accounts = set()
    for leg in legs:
        currency = leg.account.currency
        sums[currency] = sums.get(currency, 0) + leg.amount_minor
        accounts.add(leg.account.id)
        if leg.amount_minor == 0:
            raise ValueError("a leg without an amount")
    if len(accounts) < max(2, len(legs)):
        raise ValueError("a transaction has two or more legs, on different accounts")
    if any(sums.values()):
        raise ValueError("the legs do not sum to zero")
