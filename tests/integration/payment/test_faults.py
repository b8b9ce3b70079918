"""Calls that are cut off, and connections that are lost."""

from __future__ import annotations

import asyncpg
import grpc
import pytest
from azora.payment.v1 import payment_pb2
from azora.payment.v1 import payment_service_pb2 as pb
from grpc import aio

from tests.support.payment import RunningPayment, azr
from tests.support.refusals import outcome
from tests.support.waiting import eventually


async def test_a_call_that_is_cut_off_leaves_nothing_and_its_key_can_be_used_again(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    request = pb.CreatePaymentRequest(type=payment_pb2.PAYMENT_TYPE_DONATION, amount=azr(10), request_id="k")
    blocker = await asyncpg.connect(payment.owner_url.replace("+asyncpg", ""))
    async with blocker.transaction():
        await blocker.execute("SELECT FROM accounts FOR UPDATE")
        cut = payment.payments.CreatePayment(request, metadata=person.metadata, timeout=0.5)
        with pytest.raises(aio.AioRpcError) as ended:
            await cut
        assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await blocker.close()

    async def none_left_open() -> bool:
        (row,) = await payment.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'payment_app' AND state LIKE 'idle in transaction%'"
            " AND datname = current_database()"
        )
        return bool(row[0] == 0)

    await eventually(none_left_open)
    assert await person.balance() == (100, 0, 100)
    await person.pay(10, key="k")
    assert await person.balance() == (90, 0, 90)


async def test_service_and_deliveries_resume_after_lost_connections(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    await payment.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE usename = 'payment_app' AND datname = current_database() AND pid <> pg_backend_pid()",
        app=True,
    )

    async def paid() -> bool:
        return await outcome(person.pay(10, key="k")) == "OK"

    await eventually(paid)
    assert await person.balance() == (90, 0, 90)
    (transaction, *_) = (await person.transactions()).transactions
    await person.refund(transaction.payment_id)

    async def told() -> bool:
        return payment.education.refunds() == [(transaction.payment_id, True)]

    await eventually(told)
