"""Whatever is done, at once and in any order: money is conserved."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

from tests.support.payment import Person, RunningPayment, azr
from tests.support.refusals import outcome

EXPECTED = {
    "OK",
    "INSUFFICIENT_FUNDS",
    "REFUND_EXCEEDS_PAYMENT",
    "HOLD_NOT_ACTIVE",
    "HOLD_EXPIRED",
    "CAPTURE_EXCEEDS_HOLD",
}


@dataclass(slots=True)
class Restless:
    """A person who does things with their money at random."""

    person: Person
    payment: RunningPayment
    chance: random.Random
    paid: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    others: list[Person] = field(default_factory=list)

    async def act(self) -> None:
        """Do one thing."""
        actions = [self.earn, self.pay, self.hold, self.transfer]
        actions += [self.refund] if self.paid else []
        actions += [self.capture, self.release, self.wait] if self.held else []
        await self.chance.choice(actions)()

    async def earn(self) -> None:
        await self.payment.earn(self.person, self.chance.randint(1, 500))

    async def pay(self) -> None:
        self.paid.append((await self.person.pay(self.chance.randint(1, 900))).id)

    async def transfer(self) -> None:
        targets = [(self.chance.choice(self.others), self.chance.randint(1, 500)) for _ in range(3)]
        await self.person.transfer_to_many(*targets, partial=self.chance.random() < 1 / 2)

    async def hold(self) -> None:
        self.held.append((await self.person.hold(self.chance.randint(1, 900))).id)

    async def refund(self) -> None:
        await self.person.refund(self.chance.choice(self.paid), azr(self.chance.randint(1, 400)))

    async def capture(self) -> None:
        captured = await self.person.capture(self.chance.choice(self.held), azr(self.chance.randint(1, 900)))
        self.paid.append(captured.payment.id)

    async def release(self) -> None:
        await self.person.release(self.chance.choice(self.held))

    async def wait(self) -> None:
        """Let a hold's time run out."""
        hold_id = self.chance.choice(self.held)
        await self.payment.sql("UPDATE holds SET expire_time = now() WHERE id = $1 AND state = 'ACTIVE'", hold_id)


async def _sound(payment: RunningPayment) -> None:
    """Check what must hold at any time, by SQL of the test's own."""
    trial = await payment.trial_balance()
    assert trial.balanced
    assert all(total.total == 0 and total.debit == total.credit for total in trial.currencies)
    wrong = await payment.sql("""
        SELECT a.id FROM accounts a LEFT JOIN entries e ON e.account_id = a.id
        GROUP BY a.id HAVING a.posted <> coalesce(sum(e.amount), 0) OR a.sequence <> count(e.*)
    """)
    assert not wrong
    assert not await payment.sql("""
        SELECT FROM (SELECT balance_after, sum(amount) OVER (PARTITION BY account_id ORDER BY sequence) AS running,
            sequence, row_number() OVER (PARTITION BY account_id ORDER BY sequence) AS number FROM entries) AS e
        WHERE balance_after <> running OR sequence <> number
    """)
    assert not await payment.sql("""
        SELECT a.id FROM accounts a LEFT JOIN holds h ON h.account_id = a.id AND h.state = 'ACTIVE'
        GROUP BY a.id HAVING a.held <> coalesce(sum(h.amount), 0)
    """)
    assert not await payment.sql("SELECT FROM accounts WHERE kind = 'WALLET' AND posted - held < 0")


async def test_fifty_spends_of_one_balance_spend_it_once(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    outcomes = Counter(await asyncio.gather(*(outcome(person.pay(90)) for _ in range(50))))
    assert outcomes == {"OK": 11, "INSUFFICIENT_FUNDS": 39}
    assert await person.balance() == (10, 0, 10)
    await _sound(payment)


async def test_payments_and_refunds_in_opposite_directions_never_deadlock(payment: RunningPayment) -> None:
    people = [await payment.rich(10_000) for _ in range(4)]
    paid = [(person, await person.pay(1000)) for person in people for _ in range(3)]
    pays = (outcome(person.pay(10)) for person in people for _ in range(12))
    refunds = (outcome(person.refund(before.id, azr(10))) for person, before in paid for _ in range(4))
    by_turns = [attempt for both in zip(pays, refunds, strict=True) for attempt in both]
    assert set(await asyncio.gather(*by_turns)) == {"OK"}
    await _sound(payment)


async def test_accounts_that_are_opened_and_locked_by_many_at_once_never_deadlock(payment: RunningPayment) -> None:
    people = await asyncio.gather(*(payment.rich(10_000) for _ in range(6)))
    holds = [(person, await person.hold(10)) for person in people for _ in range(6)]
    attempts = [
        person.capture(hold.id) if number % 2 else person.pay(10) for number, (person, hold) in enumerate(holds)
    ]
    assert set(await asyncio.gather(*map(outcome, attempts))) == {"OK"}
    (row,) = await payment.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert row["deadlocks"] == 0
    await _sound(payment)


async def test_anything_in_any_order_conserves_money(payment: RunningPayment) -> None:
    chance = random.Random(2024)  # noqa: S311 - the same chances each time
    people = [Restless(await payment.rich(2000), payment, chance) for _ in range(4)]
    for restless in people:
        restless.others = [other.person for other in people if other is not restless]
    outcomes: Counter[str] = Counter()
    for _ in range(12):
        outcomes.update(await asyncio.gather(*(outcome(chance.choice(people).act()) for _ in range(20))))
        for restless in people:
            posted, held, available = await restless.person.balance()
            assert posted - held == available >= 0
    assert set(outcomes) <= EXPECTED
    assert outcomes["OK"] > 100
    await _sound(payment)
