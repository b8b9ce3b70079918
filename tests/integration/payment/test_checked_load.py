"""The checker of invariants passes on the real service, over its API, under concurrent load."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from services.shared.ids import new_id
from tests.support.api_ledger import ApiLedger, Callers, PersistentLedger
from tests.support.checker import KINDS, History, check, load
from tests.support.payment import RunningPayment, running_payment
from tests.support.tampering import tamper

if TYPE_CHECKING:
    from tests.support.checker import Answer, Call


async def test_the_checker_passes_under_concurrent_load(payment: RunningPayment) -> None:
    ledger = PersistentLedger(payment.channel, Callers.of(payment.signer))
    history = History([new_id() for _ in range(5)])
    await load(ledger, history, random.Random(1), callers=16, calls=16)  # noqa: S311
    await payment.replica.checkpoints.create_checkpoint()
    await load(ledger, history, random.Random(2), callers=16, calls=8)  # noqa: S311
    assert await check(ledger, history) == []
    acknowledged = {call.kind for key, call in history.calls.items() if history.answers[key][0].id}
    assert acknowledged == KINDS


class ByTurns(PersistentLedger):
    """Sends one call to one replica, and the next to the other: twins too."""

    def __init__(self, one: RunningPayment, two: RunningPayment) -> None:
        callers = Callers.of(one.signer)
        super().__init__(one.channel, callers)
        self._following: PersistentLedger = PersistentLedger(two.channel, callers)
        self._number = 0

    async def send(self, call: Call) -> Answer:
        """Send a call until its outcome is known."""
        self._number += 1
        return await (self._following.send(call) if self._number % 2 else super().send(call))


async def test_two_replicas_under_one_load_stay_exact(payment: RunningPayment) -> None:
    async with running_payment(payment.app_url, payment.owner_url, signer=payment.signer) as second:
        ledger, history = ByTurns(payment, second), History([new_id() for _ in range(5)])
        await load(ledger, history, random.Random(4), callers=16, calls=12)  # noqa: S311
        assert await check(ledger, history) == []
    rows = await payment.sql("SELECT DISTINCT stripe FROM accounts WHERE kind = 'DONATIONS'")
    assert len(rows) > 1, "both have posted"


async def test_the_checker_sees_what_is_wrong(payment: RunningPayment) -> None:
    ledger, history = ApiLedger(payment.channel, Callers.of(payment.signer)), History([new_id()])
    await load(ledger, history, random.Random(3), callers=2, calls=12)  # noqa: S311
    await tamper(payment, "DELETE FROM entries WHERE sequence = 1 AND amount > 0")
    wrong = await check(ledger, history)
    assert any(line.startswith("transaction") for line in wrong)
    assert any(line.startswith("account") for line in wrong)
    assert any(line.startswith("verification") for line in wrong)
