"""Two services that wait for each other, both with as many calls as they serve: neither takes the other's places."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from tests.support.economy import running_economy
from tests.support.refusals import outcome

if TYPE_CHECKING:
    from tests.support.postgres import Clone

PLACES, PEOPLE = 8, 24


async def test_enrolments_and_refunds_at_once_do_not_wait_for_each_other(
    payment_database: Clone, education_database: Clone
) -> None:
    """Enroll calls Payment, and CreateRefund calls Education, while every place of a client is taken in both."""
    async with running_economy(payment_database, education_database, max_concurrent_rpcs=PLACES) as economy:
        course = await economy.course()
        returning, coming = [[await economy.learner() for _ in range(PEOPLE)] for _ in range(2)]
        bought = [(await learner.enroll(course)).payment_id for learner in returning]
        entered = {"CreateHold": 0, "CloseEnrollment": 0}
        everyone = asyncio.Event()

        async def meet(method: str) -> None:
            """Hold the calls of each service up until all places of clients are taken by calls that wait for them."""
            entered[method] += 1
            if min(entered.values()) >= PLACES:
                everyone.set()
            await everyone.wait()

        economy.to_payment.before["CreateHold"] = lambda: meet("CreateHold")
        economy.to_education.before["CloseEnrollment"] = lambda: meet("CloseEnrollment")
        refunds = [
            outcome(learner.purse.refund(payment_id)) for learner, payment_id in zip(returning, bought, strict=True)
        ]
        enrolments = [outcome(learner.enroll(course)) for learner in coming]
        refunded, enrolled = await asyncio.gather(asyncio.gather(*refunds), asyncio.gather(*enrolments))
    for outcomes in (Counter(refunded), Counter(enrolled)):
        assert outcomes["OK"] == PLACES, outcomes
        assert outcomes["OVERLOADED"] == PEOPLE - PLACES, outcomes
