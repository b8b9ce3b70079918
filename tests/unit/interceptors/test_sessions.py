"""What public, fresh and other methods make of tokens that have expired, were revoked, or of which it is unknown."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from azora.client import bearer
from azora.payment.v1 import (
    payment_pb2,
    payment_service_pb2,
    payment_service_pb2_grpc,
    wallet_service_pb2,
    wallet_service_pb2_grpc,
)
from azora.type.v1 import money_pb2

from services.shared.ids import new_id
from services.shared.principal import Principal, current_principal
from services.shared.server import Registration
from tests.support.refusals import refusal
from tests.support.serving import KEY_ID, Signer, channel_to, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from grpc import aio

    from services.shared.tokens import Revocations

SERVICE = ("x-forwarded-client-cert", "URI=spiffe://azora.local/ns/default/sa/education")
EARN = payment_service_pb2.EarnRequest(
    user_id=new_id(), amount=money_pb2.Money(minor_units=1, currency="AZR"), reference="r", request_id="k"
)
GIFT = payment_service_pb2.CreatePaymentRequest(
    type=payment_pb2.PAYMENT_TYPE_DONATION, amount=EARN.amount, request_id="k"
)


class Age:
    """How old the known revocations are, as a test says."""

    def __init__(self) -> None:
        self.answered, self.age_seconds = True, 0.0

    async def first(self) -> None:
        """Nothing is on its way."""


class Auth(auth_service_pb2_grpc.AuthServiceServicer):
    principal = Principal()

    async def Logout(self, request: Any, context: Any) -> auth_service_pb2.LogoutResponse:
        Auth.principal = current_principal()
        return auth_service_pb2.LogoutResponse()


class Payments(payment_service_pb2_grpc.PaymentServiceServicer):
    async def CreatePayment(self, request: Any, context: Any) -> payment_service_pb2.CreatePaymentResponse:
        return payment_service_pb2.CreatePaymentResponse()

    async def Earn(self, request: Any, context: Any) -> payment_service_pb2.EarnResponse:
        return payment_service_pb2.EarnResponse()


class Wallets(wallet_service_pb2_grpc.WalletServiceServicer):
    async def GetWallet(self, request: Any, context: Any) -> wallet_service_pb2.GetWalletResponse:
        return wallet_service_pb2.GetWalletResponse()


@pytest.fixture
def age() -> Age:
    return Age()


@pytest.fixture
def signer(monkeypatch: pytest.MonkeyPatch, age: Age) -> Signer:
    signer = Signer()
    verifier = signer.verifier()
    verifier._freshness, verifier._max_age_seconds = age, 30
    monkeypatch.setattr(signer, "verifier", lambda: verifier)
    return signer


@pytest.fixture
async def channel(signer: Signer) -> AsyncIterator[aio.Channel]:
    services = [Registration.of(kind()) for kind in (Auth, Payments, Wallets)]
    async with serving(services, signer) as target, channel_to(target) as channel:
        yield channel


def revocations(signer: Signer) -> Revocations:
    return signer.verifier().revocations


async def log_out(channel: aio.Channel, token: str) -> Principal:
    """Make a public call with a token; return who it was found to be."""
    await auth_service_pb2_grpc.AuthServiceStub(channel).Logout(
        auth_service_pb2.LogoutRequest(), metadata=bearer(token)
    )
    return Auth.principal


async def read(channel: aio.Channel, token: str) -> None:
    await wallet_service_pb2_grpc.WalletServiceStub(channel).GetWallet(
        wallet_service_pb2.GetWalletRequest(), metadata=bearer(token)
    )


async def pay(channel: aio.Channel, token: str) -> None:
    await payment_service_pb2_grpc.PaymentServiceStub(channel).CreatePayment(GIFT, metadata=bearer(token))


async def test_on_a_public_rpc_an_expired_or_revoked_token_counts_as_none(channel: aio.Channel, signer: Signer) -> None:
    session, user = new_id(), new_id()
    revocations(signer).revoke_session(session)
    revocations(signer).revoke_user(user, before_epoch=3)
    past = int(time.time()) - 60
    for ended, reason in (
        (signer.token(exp=past), "TOKEN_EXPIRED"),
        (signer.token(sid=session), "TOKEN_INVALID"),
        (signer.token(user, epoch=2), "TOKEN_INVALID"),
    ):
        principal = await log_out(channel, ended)
        assert (principal.signed_in, principal.lapsed) == (False, True)
        refused = await refusal(read(channel, ended))
        assert (refused.code, refused.reason) == ("UNAUTHENTICATED", reason)
    assert (await log_out(channel, signer.token(user, epoch=3))).user_id == user


async def test_a_token_of_a_revoked_or_retired_key_counts_as_none_where_it_proves_nothing(
    channel: aio.Channel, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    revocations(signer).revoke_key(KEY_ID)
    assert (await log_out(channel, signer.token())).lapsed
    monkeypatch.setattr(f"{Signer.__module__}.KEY_ID", "no longer published")
    monkeypatch.setattr(revocations(signer), "_key_ids", {})
    token = signer.token(exp=int(time.time()) - 60)
    monkeypatch.undo()
    assert (await log_out(channel, token)).lapsed


async def test_a_forged_token_is_refused_everywhere(channel: aio.Channel, signer: Signer) -> None:
    for forged in (Signer().token(), Signer().token(exp=int(time.time()) - 60), "garbage"):
        for call in (log_out, read, pay):
            assert (await refusal(call(channel, forged))).reason == "TOKEN_INVALID"


async def test_before_a_first_answer_only_public_rpcs_are_served(
    channel: aio.Channel, signer: Signer, age: Age
) -> None:
    age.answered, age.age_seconds = False, float("inf")
    for call in (read, pay):
        refused = await refusal(call(channel, signer.token()))
        assert (refused.code, refused.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    assert (await log_out(channel, signer.token())).lapsed


async def test_what_requires_fresh_sessions_is_refused_after_30_seconds_and_the_rest_goes_on(
    channel: aio.Channel, signer: Signer, age: Age
) -> None:
    age.age_seconds = 29
    await pay(channel, signer.token())
    age.age_seconds = 31
    refused = await refusal(pay(channel, signer.token()))
    assert (refused.code, refused.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    await read(channel, signer.token())
    age.age_seconds = 1
    await pay(channel, signer.token())


@pytest.mark.parametrize("answered", [True, False])
async def test_service_identities_are_never_held_up(
    channel: aio.Channel, signer: Signer, age: Age, *, answered: bool
) -> None:
    age.answered, age.age_seconds = answered, float("inf")
    stub = payment_service_pb2_grpc.PaymentServiceStub(channel)
    await stub.Earn(EARN, metadata=(SERVICE,))
    await stub.Earn(EARN, metadata=(SERVICE, *bearer(signer.token())))
    assert (await refusal(stub.Earn(EARN, metadata=bearer(signer.token(role="ROLE_ADMIN"))))).code == "UNAVAILABLE"
