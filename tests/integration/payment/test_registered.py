"""Wallets that open when their users register, as Auth tells Payment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from azora.auth.v1 import events_pb2
from azora.event.v1 import event_pb2
from azora.payment.v1 import internal_service_pb2 as pb
from azora.payment.v1 import internal_service_pb2_grpc, wallet_pb2
from google.protobuf.any_pb2 import Any as AnyMessage

from services.shared.ids import new_id
from tests.support.payment import EDUCATION, RunningPayment
from tests.support.refusals import outcome, refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from azora.client import Metadata

AUTH: Metadata = (("x-forwarded-client-cert", "URI=spiffe://azora.local/ns/default/sa/auth"),)
"""What the gateway adds to a call of Auth's."""


def registered(user_id: str, event_id: str = "") -> event_pb2.Event:
    """Return Auth's event."""
    event = event_pb2.Event(id=event_id or new_id(), what=AnyMessage())
    event.what.Pack(events_pb2.UserRegistered(user_id=user_id))
    event.occur_time.GetCurrentTime()
    return event


async def deliver(payment: RunningPayment, *events: event_pb2.Event) -> Sequence[event_pb2.Result]:
    """Deliver events as Auth does."""
    stub = internal_service_pb2_grpc.InternalServiceStub(payment.channel)
    response = await stub.ReceiveEvents(pb.ReceiveEventsRequest(events=events), metadata=AUTH)
    return response.results


async def test_registering_opens_a_wallet_once(payment: RunningPayment) -> None:
    person = payment.person()
    told = registered(person.id)
    assert await deliver(payment, told, told) == [event_pb2.Result(id=told.id)] * 2
    opened = await person.wallet()
    assert (opened.user_id, opened.state) == (person.id, wallet_pb2.WALLET_STATE_ACTIVE)
    assert opened.id
    assert opened.etag
    assert opened.HasField("create_time")
    assert list(opened.balances) == [wallet_pb2.Balance(currency="AZR")]
    await deliver(payment, told, registered(person.id))
    assert await person.wallet() == opened
    await payment.earn(person, 100)
    assert (await person.wallet()).id == opened.id
    assert await outcome(person.pay(101)) == "INSUFFICIENT_FUNDS"
    await person.pay(100)


async def test_a_wallet_that_is_there_is_left_alone(payment: RunningPayment) -> None:
    person = await payment.rich(1000)
    await payment.sql("UPDATE wallets SET state = 'FROZEN'")
    before = await person.wallet()
    await deliver(payment, registered(person.id))
    assert await person.wallet() == before


async def test_events_at_once_and_a_credit_open_one_wallet(payment: RunningPayment) -> None:
    person = payment.person()
    await asyncio.gather(
        *(deliver(payment, registered(person.id)) for _ in range(5)), *(payment.earn(person, 1) for _ in range(5))
    )
    assert await person.balance() == (5, 0, 5)
    assert len(await payment.sql("SELECT FROM wallets")) == 1


async def test_only_auth_says_who_registered(payment: RunningPayment) -> None:
    stub = internal_service_pb2_grpc.InternalServiceStub(payment.channel)
    person = payment.person()
    request = pb.ReceiveEventsRequest(events=[registered(person.id)])
    for metadata in (EDUCATION, person.metadata, payment.admin().metadata, ()):
        refused = await refusal(stub.ReceiveEvents(request, metadata=metadata))
        assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "ACCESS_DENIED")
    (result,) = await deliver(payment, registered("nobody"))
    assert (result.refusal.reason, result.refusal.retryable) == ("EVENT_INVALID", False)
    assert not await payment.sql("SELECT FROM wallets")
