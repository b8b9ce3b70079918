"""What one has, and how it came and went."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from azora.payment.v1 import wallet_pb2, wallet_service_pb2

from tests.support.payment import Person, RunningPayment, azr
from tests.support.refusals import refusal


async def _history(person: Person, page_size: int) -> list[wallet_pb2.Transaction]:
    found: list[wallet_pb2.Transaction] = []
    token = ""
    while True:
        page = await person.transactions(page_size=page_size, page_token=token)
        assert len(page.transactions) <= page_size
        found += page.transactions
        token = page.next_page_token
        if not token:
            return found


async def test_a_wallet_that_is_not_there_yet_answers_zeros(payment: RunningPayment) -> None:
    person = payment.person()
    wallet = await person.wallet()
    assert (wallet.id, wallet.state) == ("", wallet_pb2.WALLET_STATE_ACTIVE)
    assert list(wallet.balances) == [wallet_pb2.Balance(currency="AZR")]
    assert not wallet.HasField("create_time")
    assert await person.transactions() == wallet_service_pb2.ListTransactionsResponse()
    assert (await payment.sql("SELECT count(*) FROM wallets"))[0][0] == 0


async def test_azr_stands_first_among_the_balances(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    await payment.sql(
        "INSERT INTO accounts (id, kind, owner_id, currency) SELECT gen_random_uuid(), 'WALLET', id, code"
        " FROM wallets, unnest(ARRAY['ZAR', 'AED']) AS code"
    )
    assert [balance.currency for balance in (await person.wallet()).balances] == ["AZR", "AED", "ZAR"]


async def test_the_history_shows_each_movement_as_the_wallet_saw_it(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    paid = await person.pay(300)
    refund = await person.refund(paid.id, azr(100))

    newest, middle, oldest = (await person.transactions()).transactions

    assert (newest.id, newest.type, newest.payment_id) == (refund.id, wallet_pb2.TRANSACTION_TYPE_REFUND, paid.id)
    assert (newest.amount, newest.balance_after) == (azr(100), azr(800))
    assert (newest.description, newest.create_time) == ("changed my mind", refund.decide_time)
    assert (middle.type, middle.payment_id) == (wallet_pb2.TRANSACTION_TYPE_PAYMENT, paid.id)
    assert (middle.amount, middle.balance_after, middle.reference) == (azr(-300), azr(700), "")
    assert (oldest.amount, oldest.balance_after) == (azr(1000), azr(1000))


async def test_pages_hold_every_movement_once_while_more_are_booked(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    for _ in range(24):
        await person.pay(1)
    await (await payment.rich(50)).pay(5)

    first = await person.transactions()
    assert len(first.transactions) == 20
    await person.pay(1)
    second = await person.transactions(page_token=first.next_page_token, page_size=3)
    third = await person.transactions(page_token=second.next_page_token, page_size=1000)

    seen = [
        transaction.balance_after.minor_units for page in (first, second, third) for transaction in page.transactions
    ]
    assert seen == list(range(976, 1001))
    assert third.next_page_token == ""
    assert [entry.balance_after.minor_units for entry in await _history(person, 5)] == list(range(975, 1001))


async def test_history_read_during_payments_adds_up(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    for _ in range(10):
        await person.pay(1)
    histories, _ = await asyncio.gather(
        asyncio.gather(*(_history(person, 4) for _ in range(5))), asyncio.gather(*(person.pay(1) for _ in range(20)))
    )
    for history in histories:
        for newer, older in pairwise(history):
            assert newer.balance_after.minor_units == older.balance_after.minor_units + newer.amount.minor_units
        assert history[-1].balance_after == azr(1000)


async def test_page_tokens_belong_to_their_caller_and_question(payment: RunningPayment) -> None:
    person, other = await payment.rich(1000), await payment.rich(1000)
    for _ in range(2):
        await person.pay(1)
    token = (await person.transactions(page_size=1)).next_page_token

    flipped = ("B" if token[0] == "A" else "A") + token[1:]
    for attempt in (
        other.transactions(page_token=token),
        person.transactions(page_token=token, currency="ZAR"),
        person.transactions(page_token=flipped),
        person.transactions(page_token="not one"),
    ):
        refused = await refusal(attempt)
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
    assert (await refusal(person.transactions(page_size=-1))).fields == ("pageSize",)


async def test_history_of_another_currency(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    assert not (await person.transactions(currency="ZAR")).transactions
    assert (await refusal(person.transactions(currency="XYZ"))).reason == "CURRENCY_UNKNOWN"
    assert (await refusal(person.transactions(currency="rand"))).fields == ("currency",)
