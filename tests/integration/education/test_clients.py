"""Education's ports over the typed stubs, against the real Payment, and against one that does not answer."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from azora.auth.v1 import token_service_pb2, token_service_pb2_grpc
from azora.client import signing_keys
from azora.payment.v1 import payment_pb2
from grpc import aio

from interceptors.client import OutgoingCalls
from services.education.clients import PaymentClient
from services.shared.errors import DependencyUnavailable, Refused
from services.shared.ids import new_id
from services.shared.money import Money
from services.shared.tokens import RemoteKeys
from tests.support.economy import Road
from tests.support.payment import EDUCATION, running_payment
from tests.support.serving import channel_to, short_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.payment import RunningPayment
    from tests.support.postgres import Clone

LIFETIME = timedelta(minutes=15)


@pytest.fixture
async def payment(payment_database: Clone) -> AsyncIterator[RunningPayment]:
    async with running_payment(payment_database.app_url, payment_database.owner_url) as running:
        yield running


@pytest.fixture
async def client(payment: RunningPayment) -> AsyncIterator[PaymentClient]:
    async with aio.insecure_channel(payment.target, interceptors=[Road(EDUCATION), OutgoingCalls()]) as channel:
        yield PaymentClient(channel)


async def hold(client: PaymentClient, user_id: str, *, minor: int = 49_00, key: str = "") -> str:
    return await client.hold(
        key=key or new_id(),
        user_id=user_id,
        amount=Money(minor),
        description="Sourdough",
        course_id=new_id(),
        lifetime=LIFETIME,
    )


async def test_a_hold_becomes_a_payment_for_a_course(client: PaymentClient, payment: RunningPayment) -> None:
    learner = await payment.rich(100_00)
    hold_id = await hold(client, learner.id)
    assert await learner.balance() == (100_00, 49_00, 51_00)
    captured = await client.capture(key="capture", user_id=learner.id, hold_id=hold_id)
    assert await client.capture(key="capture", user_id=learner.id, hold_id=hold_id) == captured
    assert captured.amount == Money(49_00)
    bought = await learner.read(captured.payment_id)
    assert (bought.type, bought.description) == (payment_pb2.PAYMENT_TYPE_ENROLLMENT, "Sourdough")
    assert await learner.balance() == (51_00, 0, 51_00)


async def test_a_capture_whose_key_is_long_forgotten_is_found_and_not_repeated(
    client: PaymentClient, payment: RunningPayment
) -> None:
    learner = await payment.rich(100_00)
    hold_id = await hold(client, learner.id)
    captured = await client.capture(key="capture", user_id=learner.id, hold_id=hold_id)
    assert await client.capture(key="days later", user_id=learner.id, hold_id=hold_id) == captured
    assert await learner.balance() == (51_00, 0, 51_00)
    with pytest.raises(Refused, match="HOLD_NOT_ACTIVE"):
        await client.release(key="release", user_id=learner.id, hold_id=hold_id)


async def test_a_hold_is_released(client: PaymentClient, payment: RunningPayment) -> None:
    learner = await payment.rich(49_00)
    hold_id = await hold(client, learner.id)
    await client.release(key="release", user_id=learner.id, hold_id=hold_id)
    assert await learner.balance() == (49_00, 0, 49_00)


async def test_too_poor_is_a_verdict(client: PaymentClient, payment: RunningPayment) -> None:
    learner = await payment.rich(1)
    with pytest.raises(Refused, match="INSUFFICIENT_FUNDS"):
        await hold(client, learner.id)


async def test_a_reference_earns_once(client: PaymentClient, payment: RunningPayment) -> None:
    learner = payment.person()
    for _ in range(2):
        await client.earn(reference="course-completion:1", user_id=learner.id, amount=Money(75_00), description="Bread")
    assert await learner.balance() == (75_00, 0, 75_00)


async def test_silence_is_no_verdict() -> None:
    async with (
        short_folder() as folder,
        aio.insecure_channel(f"unix:{folder}/nobody.sock", interceptors=[OutgoingCalls()]) as channel,
    ):
        with pytest.raises(DependencyUnavailable):
            await hold(PaymentClient(channel), new_id())
        with pytest.raises(DependencyUnavailable):
            await RemoteKeys(partial(signing_keys, channel), cache_seconds=60).key("k")


class Tokens(token_service_pb2_grpc.TokenServiceServicer):
    async def GetJwks(
        self, request: token_service_pb2.GetJwksRequest, context: Any
    ) -> token_service_pb2.GetJwksResponse:
        key = token_service_pb2.Jwk(kty="EC", crv="P-256", x="x", y="y", kid="k", alg="ES256", use="sig")
        return token_service_pb2.GetJwksResponse(keys=[key])


async def test_signing_keys_come_as_jwks() -> None:
    async with short_folder() as folder:
        server = aio.server()
        token_service_pb2_grpc.add_TokenServiceServicer_to_server(Tokens(), server)
        server.add_insecure_port(f"unix:{folder}/auth.sock")
        await server.start()
        async with channel_to(f"unix:{folder}/auth.sock") as channel:
            (key,) = await signing_keys(channel)
        await server.stop(0)
    assert key == {"kty": "EC", "crv": "P-256", "x": "x", "y": "y", "kid": "k", "alg": "ES256", "use": "sig"}
