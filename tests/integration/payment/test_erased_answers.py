"""Erasing a person looks at all keyed answers, in no time also where tables have grown since they were analyzed."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from services.payment.erasures.store import THEIR_ANSWERS
from services.shared.db import Database
from services.shared.keyed_answers import KeyedAnswers
from tests.support.payment import running_payment

if TYPE_CHECKING:
    from tests.support.postgres import Clone

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAID = 300
MAX_SECONDS = 0.3


async def test_what_others_were_answered_of_a_person_is_found_in_tables_that_were_empty_when_analyzed(
    payment_database: Clone,
) -> None:
    database = Database(payment_database.app_url)
    async with running_payment(payment_database.app_url, payment_database.owner_url) as payment:
        await payment.sql("ANALYZE")
        people = [await payment.rich(100) for _ in range(PAID)]
        for person in people:
            await person.refund((await person.pay(10)).id)
        erase = partial(KeyedAnswers(others=THEIR_ANSWERS).erase_person, user_id=people[7].id)
        began = time.monotonic()
        while await database.transaction(erase):
            pass
        took_seconds = time.monotonic() - began
        await database.close()
        erased = await payment.sql("SELECT method FROM idempotency_records WHERE response IS NULL")
    assert [row["method"] for row in erased] == ["azora.payment.v1.EarnRequest"]
    assert took_seconds < MAX_SECONDS
