"""A checker of the ledger's invariants, by what callers were answered and what the ledger shows, and nothing else.

It asks a `Ledger`: the service over its API, or a store in memory. Each keyed call is recorded with its answer, twins
are recorded as often as they were sent. `check` then sends every key again, reads all entries and balances, and returns
what is wrong.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Iterable, Sequence

UNKNOWN = "UNKNOWN"
"""Outcome of a call without an answer, or whose answer says nothing about what happened."""

KINDS = frozenset({"earn", "pay", "hold", "capture", "release", "refund", "transfer", "batch"})

REPLAYS = 32
"""Keys that are sent again at once."""


@dataclass(frozen=True, slots=True)
class Call:
    """A keyed call."""

    kind: str
    """One of KINDS."""
    user: str
    key: str
    amount: int = 0
    target: str = ""
    """ID of the hold or payment."""
    transfers: tuple[tuple[str, int], ...] = ()
    """Recipients and amounts of a transfer, or of a batch of them: all are made or none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller was answered: the ID of what was made, the reason of a refusal, or UNKNOWN."""

    id: str = ""
    refusal: str = ""

    @property
    def known(self) -> bool:
        """Whether it tells what happened."""
        return self.refusal != UNKNOWN


@dataclass(frozen=True, slots=True)
class SeenEntry:
    """An entry as the ledger shows it."""

    account: str
    owner: str
    sequence: int
    transaction: str
    currency: str
    amount: int
    balance_after: int
    type: str
    source: str


class Ledger(Protocol):
    """What is checked."""

    async def send(self, call: Call) -> Answer:
        """Send a call."""
        ...

    async def entries(self) -> Sequence[SeenEntry]:
        """Return all entries."""
        ...

    async def balance(self, user: str) -> tuple[str, int, int, int]:
        """Return the ID of a user's wallet, and what is posted, held and available."""
        ...

    async def verify(self) -> Sequence[str]:
        """Return what the ledger itself finds wrong."""
        ...


@dataclass(slots=True)
class History:
    """What was asked and answered, by key."""

    users: list[str]
    calls: dict[str, Call] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    earlier: Collection[str] = ()
    """Transactions that there were before the first call."""

    def record(self, call: Call, answer: Answer) -> None:
        """Record one call and its answer."""
        self.calls[call.key] = call
        self.answers[call.key].append(answer)

    def made(self, *kinds: str) -> list[str]:
        """Return the IDs of what acknowledged calls of some kinds have made."""
        return [
            answer.id
            for key, answers in self.answers.items()
            if self.calls[key].kind in kinds
            for answer in answers[:1]
            if answer.id
        ]

    def choose(self, chance: random.Random) -> Call:
        """Return a call at random."""
        user, key, amount = chance.choice(self.users), f"{chance.getrandbits(96):024x}", chance.randint(1, 400)
        kind = chance.choice(
            ("earn", "earn", "pay", "pay", "hold", "capture", "release", "refund", "transfer", "batch")
        )
        if kind in ("transfer", "batch"):
            # A batch with a transfer to oneself is refused for it, or for one before it: no key keeps the former.
            others = [other for other in self.users if other != user] or self.users
            count = 1 if kind == "transfer" else chance.randint(2, 4)
            transfers = tuple((chance.choice(others), chance.randint(1, 200)) for _ in range(count))
            return Call(kind, user, key, transfers=transfers)
        made = self.made("hold") if kind in ("capture", "release") else self.made("pay", "capture")
        if kind in ("earn", "pay", "hold") or not made:
            return Call(kind if kind in ("pay", "hold") else "earn", user, key, amount)
        target = chance.choice(made[-20:])
        owner = next(self.calls[key].user for key, answers in self.answers.items() if answers[0].id == target)
        return Call(kind, owner, key, amount, target)


async def load(ledger: Ledger, history: History, chance: random.Random, *, callers: int, calls: int) -> None:
    """Send calls at random from so many callers at once; every eighth is sent twice at once, under one key."""

    async def caller() -> None:
        for number in range(calls):
            call = history.choose(chance)
            twins = [call] * (2 if number % 8 == 0 else 1)
            for answer in await asyncio.gather(*map(ledger.send, twins)):
                history.record(call, answer)

    await asyncio.gather(*(caller() for _ in range(callers)))


async def check(ledger: Ledger, history: History) -> list[str]:
    """Return what is wrong with a ledger that nobody writes to now."""
    wrong: list[str] = []
    final: dict[str, Answer] = {}
    calls = list(history.calls.items())
    replayed = []
    for start in range(0, len(calls), REPLAYS):
        replayed += await asyncio.gather(*(ledger.send(call) for _, call in calls[start : start + REPLAYS]))
    for (key, call), answer in zip(calls, replayed, strict=True):
        before = [answer for answer in history.answers[key] if answer.known]
        final[key] = answer
        if len({*before, final[key]}) > 1:
            wrong.append(f"{call.kind}: replayed as {final[key]}, answered {before}")
        final[key] = before[0] if before else final[key]
    entries = await ledger.entries()
    wrong += _entries(entries)
    wrong += _effects(history, final, entries)
    last = {entry.owner: entry for entry in sorted(entries, key=lambda entry: entry.sequence)}
    for user in history.users:
        owner, posted, held, available = await ledger.balance(user)
        entry = last.get(owner)
        if posted != (entry.balance_after if entry else 0):
            wrong.append(f"{user}: posted {posted} is not the balance of the last entry")
        if available < 0 or available != posted - held:
            wrong.append(f"{user}: available {available} of {posted} posted and {held} held")
        if held != (expected := _held(history, final, user)):
            wrong.append(f"{user}: holds {held}, and holds of {expected} are active")
    return wrong + [f"verification: {finding}" for finding in await ledger.verify()]


def _entries(entries: Iterable[SeenEntry]) -> list[str]:
    """Check that legs sum to zero, and that the entries of each account are without gap and add up."""
    wrong = []
    totals: Counter[str] = Counter()
    legs: dict[tuple[str, str], list[int]] = defaultdict(list)
    accounts: dict[str, list[SeenEntry]] = defaultdict(list)
    for entry in entries:
        totals[entry.currency] += entry.amount
        legs[entry.transaction, entry.currency].append(entry.amount)
        accounts[entry.account].append(entry)
    wrong += [f"total of {currency} is {total}" for currency, total in totals.items() if total]
    wrong += [
        f"transaction {transaction}: legs {amounts}"
        for (transaction, _), amounts in legs.items()
        if sum(amounts) or len(amounts) < 2
    ]
    for account, found in accounts.items():
        balance = 0
        for number, entry in enumerate(sorted(found, key=lambda entry: entry.sequence), start=1):
            balance += entry.amount
            if (entry.sequence, entry.balance_after) != (number, balance):
                wrong.append(f"account {account}: entry {number} is {entry.sequence}, with {entry.balance_after}")
                break
    return wrong


def _effects(history: History, final: dict[str, Answer], entries: Sequence[SeenEntry]) -> list[str]:
    """Check that what was acknowledged is there once, and that nothing else is."""
    wrong = []
    types = {"earn": "EARN", "pay": "PAYMENT", "capture": "PAYMENT", "refund": "REFUND"}
    types |= dict.fromkeys(("transfer", "batch"), "TRANSFER")
    found: Counter[tuple[str, str]] = Counter()
    for transaction, type_, source in {
        (entry.transaction, entry.type, entry.source) for entry in entries if entry.transaction not in history.earlier
    }:
        found[type_, (source if type_ in ("PAYMENT", "TRANSFER") else "") or transaction] += 1
    expected: Counter[tuple[str, str]] = Counter()
    captured: Counter[str] = Counter()
    for key, answer in final.items():
        call = history.calls[key]
        if answer.id and call.kind in types:
            expected[types[call.kind], answer.id] += len(call.transfers) or 1
        if answer.id and call.kind == "capture":
            captured[call.target] += 1
    wrong += [f"hold {hold} was captured {number} times" for hold, number in captured.items() if number > 1]
    wrong += [f"acknowledged and missing: {effect}" for effect in (expected - found)]
    wrong += [f"there, and acknowledged by nobody: {effect}" for effect in (found - expected)]
    return wrong


def _held(history: History, final: dict[str, Answer], user: str) -> int:
    """Return the sum of a user's holds that were neither captured nor released."""
    ended = {history.calls[key].target for key, answer in final.items() if answer.id} - {""}
    made = ((history.calls[key], answer.id) for key, answer in final.items() if answer.id)
    return sum(
        call.amount for call, hold_id in made if (call.kind, call.user) == ("hold", user) and hold_id not in ended
    )
