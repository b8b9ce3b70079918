"""Commands that wait, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from services.shared.errors import DomainError, IdempotencyKeyReused
from services.shared.idempotency import encode_rejection

if TYPE_CHECKING:
    import asyncio

    from opentelemetry.trace import Span

    from services.payment.ledger.book import Book, Command, Needs
    from services.payment.ledger.model import AccountKey
    from services.shared.idempotency import Idempotent

Identity: TypeAlias = tuple[str, str, str]
"""Principal, method and key of a keyed call."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept under a key. Without answer it is claimed by a call that is not decided yet."""

    fingerprint: bytes
    response: bytes | None
    rejection: bytes | None

    @property
    def answered(self) -> bool:
        """Whether there is an answer."""
        return self.response is not None or self.rejection is not None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a command."""

    effect: Any = None
    answer: Any = None
    """The response message, of an effect that is decided."""
    error: Exception | None = None
    record: Record | None = None
    """What the key keeps."""
    replayed: bool = False


@dataclass(slots=True, eq=False)
class Pending:
    """A command that waits for its group, and who waits for it: its caller and callers with the same key."""

    command: Command[Any]
    call: Idempotent[Any, Any] | None
    submit_time: float
    span: Span | None
    """The call's span, if it is recorded."""
    quote: bool = False
    """Whether it is decided and not written."""
    waiters: list[asyncio.Future[Outcome]] = field(default_factory=list)
    needs: Needs = field(init=False)
    identity: Identity | None = field(init=False)
    """What its key is unique by."""
    accounts: dict[str, AccountKey] = field(default_factory=dict)
    """The accounts that it needs, by ID."""
    locked: tuple[str, ...] = ()
    """Those of them that another writer held locked when they were needed last."""
    skips: int = 0
    """Groups that went on without it, because one of its accounts was locked by another writer."""

    def __post_init__(self) -> None:
        self.needs = self.command.needs
        self.identity = (self.call.principal_id, self.call.method, self.call.key) if self.call else None

    @property
    def abandoned(self) -> bool:
        """Whether every caller has gone away."""
        return all(waiter.done() for waiter in self.waiters)

    def settle(self, outcome: Outcome) -> None:
        """Tell everyone who still waits."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(outcome)


def decide(book: Book, pending: Pending, record: Record | None) -> Outcome:
    """Decide a command, unless `record` has its answer. It changes the book only if it is not refused."""
    call = pending.call
    if record is not None and call is not None:
        if record.fingerprint != call.fingerprint:
            return Outcome(error=IdempotencyKeyReused())
        if record.answered:
            return Outcome(record=record, replayed=True)
    try:
        if pending.quote:
            return book.quote(lambda overlay: _effect(overlay, pending))
        return book.attempt(lambda overlay: _effect(overlay, pending))
    except DomainError as refused:
        kept = call is not None and refused.stored and not pending.quote
        return Outcome(
            error=refused,
            record=Record(call.fingerprint, None, encode_rejection(refused)) if call is not None and kept else None,
        )
    except Exception as error:  # noqa: BLE001 - a defect in one command is no reason to lose the others
        return Outcome(error=error)


def _effect(book: Book, pending: Pending) -> Outcome:
    """Decide and encode the answer: a command whose answer cannot be encoded has done nothing."""
    effect, call = pending.command.decide(book), pending.call
    if call is None:
        return Outcome(effect)
    if not pending.command.decided(effect):
        return Outcome(effect, record=Record(call.fingerprint, None, None))
    answer = call.encode(effect)
    return Outcome(effect, answer, record=Record(call.fingerprint, answer.SerializeToString(deterministic=True), None))
