"""What the access token of an API key may call: its scopes, as far as its owner may, and nothing interactive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from azora.client import bearer
from azora.payment.v1 import payment_service_pb2, payment_service_pb2_grpc
from azora.policy.v1 import permission_pb2, policy_pb2
from azora.type.v1 import money_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodOptions

from services.shared.ids import new_id
from services.shared.principal import Principal, current_principal
from services.shared.scopes import scopes_of
from services.shared.server import Registration
from tests.support.refusals import refusal
from tests.support.serving import Signer, channel_to, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from grpc import aio

SERVICE = ("x-forwarded-client-cert", "URI=spiffe://azora.local/ns/default/sa/education")
EARN = payment_service_pb2.EarnRequest(
    user_id=new_id(), amount=money_pb2.Money(minor_units=1, currency="AZR"), reference="r", request_id="k"
)


class Auth(auth_service_pb2_grpc.AuthServiceServicer):
    principal = Principal()

    async def Refresh(self, request: Any, context: Any) -> auth_service_pb2.RefreshResponse:
        Auth.principal = current_principal()
        return auth_service_pb2.RefreshResponse()

    async def Logout(self, request: Any, context: Any) -> auth_service_pb2.LogoutResponse:
        return auth_service_pb2.LogoutResponse()

    async def GetProfile(self, request: Any, context: Any) -> auth_service_pb2.GetProfileResponse:
        return auth_service_pb2.GetProfileResponse()


class Payments(payment_service_pb2_grpc.PaymentServiceServicer):
    async def Earn(self, request: Any, context: Any) -> payment_service_pb2.EarnResponse:
        return payment_service_pb2.EarnResponse()


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
async def channel(signer: Signer) -> AsyncIterator[aio.Channel]:
    services = [Registration.of(kind()) for kind in (Auth, Payments)]
    async with serving(services, signer) as target, channel_to(target) as channel:
        yield channel


async def read(channel: aio.Channel, token: str) -> None:
    stub = auth_service_pb2_grpc.AuthServiceStub(channel)
    await stub.GetProfile(auth_service_pb2.GetProfileRequest(), metadata=bearer(token))


async def earn(channel: aio.Channel, *metadata: tuple[str, str]) -> None:
    await payment_service_pb2_grpc.PaymentServiceStub(channel).Earn(EARN, metadata=metadata)


@pytest.mark.parametrize("scope", ["", "auth.write", "payment.read", "AUTH.READ", "auth", "auth.*", "auth.read,x", "*"])
async def test_a_scope_too_narrow_is_refused_and_named(channel: aio.Channel, signer: Signer, scope: str) -> None:
    found = await refusal(read(channel, signer.token(scope=scope)))
    assert (found.code, found.reason) == ("PERMISSION_DENIED", "SCOPE_INSUFFICIENT")
    assert found.metadata == {"scope": "auth.read"}


@pytest.mark.parametrize("scope", ["auth.read", "payment.read auth.read", " auth.read  x "])
async def test_the_scope_of_the_method_is_enough(channel: aio.Channel, signer: Signer, scope: str) -> None:
    await read(channel, signer.token(scope=scope))


async def test_a_key_may_no_more_than_its_owner(channel: aio.Channel, signer: Signer) -> None:
    await earn(channel, *bearer(signer.token(role="ROLE_ADMIN", scope="payment.write")))
    found = await refusal(earn(channel, *bearer(signer.token(role="ROLE_STUDENT", scope="payment.write"))))
    assert found.reason == "ACCESS_DENIED"
    found = await refusal(earn(channel, *bearer(signer.token(role="ROLE_ADMIN", scope="payment.read"))))
    assert found.metadata == {"scope": "payment.write"}


async def test_a_service_may_what_it_may_whatever_token_it_sends_along(channel: aio.Channel, signer: Signer) -> None:
    await earn(channel, SERVICE, *bearer(signer.token(scope="")))


async def test_where_anyone_is_admitted_a_token_beyond_its_scopes_counts_as_none(
    channel: aio.Channel, signer: Signer
) -> None:
    user = new_id()
    stub = auth_service_pb2_grpc.AuthServiceStub(channel)
    request = auth_service_pb2.RefreshRequest(refresh_token="x")
    for scope, known in (("auth.write", True), ("auth.read", False)):
        await stub.Refresh(request, metadata=bearer(signer.token(user, scope=scope)))
        assert (Auth.principal.user_id == user, Auth.principal.lapsed) == (known, not known)


async def test_an_interactive_method_refuses_keys_though_anyone_is_admitted(
    channel: aio.Channel, signer: Signer
) -> None:
    stub = auth_service_pb2_grpc.AuthServiceStub(channel)
    request = auth_service_pb2.LogoutRequest()
    found = await refusal(stub.Logout(request, metadata=bearer(signer.token(scope="auth.read auth.write"))))
    assert (found.code, found.reason) == ("PERMISSION_DENIED", "INTERACTIVE_SIGN_IN_REQUIRED")
    await stub.Logout(request, metadata=bearer(signer.token()))
    await stub.Logout(request)


@pytest.mark.parametrize("scope", [["auth.read"], 1, True, {"auth.read": 1}])
async def test_a_scope_that_is_no_text_is_no_token(channel: aio.Channel, signer: Signer, scope: Any) -> None:
    assert (await refusal(read(channel, signer.token(scope=scope)))).reason == "TOKEN_INVALID"


def test_scopes_are_those_of_what_users_may_call_without_signing_in_each_time() -> None:
    descriptors = FileDescriptorSet()
    for owner, access, interactive, level in (
        ("reader", policy_pb2.Access(signed_in=True), False, MethodOptions.NO_SIDE_EFFECTS),
        ("writer", policy_pb2.Access(permission=permission_pb2.PERMISSION_MAIL_READ), False, MethodOptions.IDEMPOTENT),
        ("teller", policy_pb2.Access(public=True), False, MethodOptions.IDEMPOTENCY_UNKNOWN),
        ("person", policy_pb2.Access(signed_in=True), True, MethodOptions.IDEMPOTENT),
        ("mesh", policy_pb2.Access(service="reader"), False, MethodOptions.IDEMPOTENT),
    ):
        file = descriptors.file.add(package=f"azora.{owner}.v1")
        options = file.service.add().method.add().options
        options.idempotency_level = level
        options.Extensions[policy_pb2.policy].CopyFrom(policy_pb2.Policy(access=[access], interactive=interactive))
    assert scopes_of(descriptors) == ("reader.read", "teller.write", "writer.write")
