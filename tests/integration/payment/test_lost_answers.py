"""Payments whose answer is lost on the way: azora.client retries them, and they are booked once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.client import connect
from azora.payment.v1 import payment_pb2, payment_service_pb2_grpc
from azora.payment.v1 import payment_service_pb2 as pb

from tests.support.cutting import cutting
from tests.support.payment import azr

if TYPE_CHECKING:
    from tests.support.payment import RunningPayment


async def test_a_payment_without_a_key_of_its_own_is_booked_once(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    request = pb.CreatePaymentRequest(type=payment_pb2.PAYMENT_TYPE_DONATION, amount=azr(30))
    async with cutting(payment.target) as (through, proxy), connect(through) as channel:
        await payment_service_pb2_grpc.PaymentServiceStub(channel).CreatePayment(request, metadata=person.metadata)
    assert proxy.cut == 1
    assert await person.balance() == (70, 0, 70)
