"""The chain of interceptors as a caller meets it: a real server, real tokens, real bytes."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc, token_service_pb2, token_service_pb2_grpc
from azora.client import bearer, error_reason
from azora.payment.v1 import payment_service_pb2, payment_service_pb2_grpc
from google.rpc import error_details_pb2
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from services.shared.errors import FailedPrecondition
from services.shared.ids import new_id
from services.shared.logs import JsonFormatter
from services.shared.principal import Principal, current_principal, current_request
from services.shared.server import Registration
from tests.support.serving import Signer, channel_to, serving
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EDUCATION = ("x-forwarded-client-cert", "Hash=ab;URI=spiffe://azora.local/ns/default/sa/education")


class WalletBroken(FailedPrecondition):
    """The wallet is broken."""


class Tokens(token_service_pb2_grpc.TokenServiceServicer):
    async def GetJwks(self, request: Any, context: Any) -> token_service_pb2.GetJwksResponse:
        return token_service_pb2.GetJwksResponse()

    async def GetOpenIdConfiguration(self, request: Any, context: Any) -> Any:
        raise RuntimeError("postgresql://secret@host is down\nand more")


class Accounts(auth_service_pb2_grpc.AuthServiceServicer):
    async def Login(self, request: Any, context: Any) -> auth_service_pb2.LoginResponse:
        return auth_service_pb2.LoginResponse()


class Payments(payment_service_pb2_grpc.PaymentServiceServicer):
    """Remembers who called and how they were cut off."""

    def __init__(self) -> None:
        self.principals: list[Principal] = []
        self.cancelled = asyncio.Event()

    async def CreateHold(self, request: Any, context: Any) -> payment_service_pb2.CreateHoldResponse:
        self.principals.append(current_principal())
        return payment_service_pb2.CreateHoldResponse()

    async def Earn(self, request: Any, context: Any) -> Any:
        raise WalletBroken(metadata={"currency": "AZR"}, retry_after_seconds=1.5)

    async def GetPayment(self, request: Any, context: Any) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
async def payments() -> Payments:
    return Payments()


@pytest.fixture
async def channel(signer: Signer, payments: Payments) -> AsyncIterator[aio.Channel]:
    services = [
        Registration(
            token_service_pb2.DESCRIPTOR.services_by_name["TokenService"],
            Tokens(),
            token_service_pb2_grpc.add_TokenServiceServicer_to_server,
        ),
        Registration(
            auth_service_pb2.DESCRIPTOR.services_by_name["AuthService"],
            Accounts(),
            auth_service_pb2_grpc.add_AuthServiceServicer_to_server,
        ),
        Registration(
            payment_service_pb2.DESCRIPTOR.services_by_name["PaymentService"],
            payments,
            payment_service_pb2_grpc.add_PaymentServiceServicer_to_server,
        ),
    ]
    async with serving(services, signer) as target, channel_to(target) as opened:
        yield opened


def hold(**fields: Any) -> payment_service_pb2.CreateHoldRequest:
    request = payment_service_pb2.CreateHoldRequest(**fields)
    request.amount.minor_units, request.amount.currency = 5, "AZR"
    return request


def earning() -> payment_service_pb2.EarnRequest:
    request = payment_service_pb2.EarnRequest(user_id=new_id(), reference="r")
    request.amount.minor_units, request.amount.currency = 5, "AZR"
    return request


async def refused(call: Any) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value


def details(error: aio.AioRpcError) -> list[str]:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    return [detail.type_url.rpartition(".")[2] for detail in status.details]


async def test_a_public_method_answers_anyone_and_tells_its_limit_from_half_of_it_on(channel: aio.Channel) -> None:
    stub = auth_service_pb2_grpc.AuthServiceStub(channel)
    told = []
    for _ in range(10):
        call = stub.Login(auth_service_pb2.LoginRequest(email="a@azora.world", password="x"))
        await call
        told.append(dict(await call.initial_metadata() or ()))
    assert [headers.get("ratelimit-remaining") for headers in told] == [*[None] * 4, *"543210"]
    assert told[0] == {}, "an answer without anything to say sends no headers"
    assert told[9]["ratelimit-limit"] == "10"
    assert 0 < int(told[9]["ratelimit-reset"]) <= 60


async def test_an_unhandled_exception_tells_nothing_but_its_request(channel: aio.Channel) -> None:
    stub = token_service_pb2_grpc.TokenServiceStub(channel)
    error = await refused(stub.GetOpenIdConfiguration(token_service_pb2.GetOpenIdConfigurationRequest()))
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert error_reason(error) == "INTERNAL_ERROR"
    assert "secret" not in repr(error)


async def test_a_typed_error_carries_reason_metadata_and_retry(channel: aio.Channel, signer: Signer) -> None:
    stub = payment_service_pb2_grpc.PaymentServiceStub(channel)
    error = await refused(stub.Earn(earning(), metadata=bearer(signer.token(role="ROLE_ADMIN"))))
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "The wallet is broken.")
    assert details(error) == ["ErrorInfo", "RetryInfo"]
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain, dict(info.metadata)) == ("WALLET_BROKEN", "azora.dev", {"currency": "AZR"})
    assert dict(error.trailing_metadata())["retry-after"] == "2"
    assert not tuple(error.initial_metadata()), "headers before a refusal would hide it from retries"


async def test_without_a_token_a_signed_in_method_asks_for_one(channel: aio.Channel) -> None:
    error = await refused(payment_service_pb2_grpc.PaymentServiceStub(channel).CreateHold(hold()))
    assert (error.code(), error_reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


@pytest.mark.parametrize(
    "metadata",
    [
        (("authorization", "Basic abc"),),
        (("authorization", "Bearer not.a.token"),),
        (("authorization", "Bearer a"), ("authorization", "Bearer b")),
    ],
)
async def test_what_is_no_token_is_refused_even_on_public_methods(channel: aio.Channel, metadata: Any) -> None:
    stub = token_service_pb2_grpc.TokenServiceStub(channel)
    error = await refused(stub.GetJwks(token_service_pb2.GetJwksRequest(), metadata=metadata))
    assert (error.code(), error_reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_an_expired_token_says_so(channel: aio.Channel, signer: Signer) -> None:
    stub = payment_service_pb2_grpc.PaymentServiceStub(channel)
    error = await refused(stub.CreateHold(hold(), metadata=bearer(signer.token(exp=1))))
    assert error_reason(error) == "TOKEN_EXPIRED"


async def test_who_lacks_the_permission_is_denied_before_the_message_is_read(
    channel: aio.Channel, signer: Signer
) -> None:
    raw: Any = channel.unary_unary("/azora.payment.v1.PaymentService/Earn")
    error = await refused(raw(b"\xff\xff", metadata=bearer(signer.token())))
    assert (error.code(), error_reason(error)) == (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED")


async def test_malformed_bytes_are_an_invalid_argument(channel: aio.Channel, signer: Signer) -> None:
    raw: Any = channel.unary_unary("/azora.payment.v1.PaymentService/CreateHold")
    error = await refused(raw(b"\xff\xff", metadata=bearer(signer.token())))
    assert (error.code(), error_reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")


async def test_a_broken_rule_names_its_field(channel: aio.Channel, signer: Signer) -> None:
    request = payment_service_pb2.CreateHoldRequest(user_id="no uuid")
    request.expire_after.seconds = 10**9
    stub = payment_service_pb2_grpc.PaymentServiceStub(channel)
    error = await refused(stub.CreateHold(request, metadata=bearer(signer.token())))
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    bad = error_details_pb2.BadRequest()
    assert status is not None
    assert status.details[1].Unpack(bad)
    assert {violation.field for violation in bad.field_violations} == {"amount", "expireAfter", "userId"}


async def test_only_a_service_may_act_for_a_user(channel: aio.Channel, signer: Signer, payments: Payments) -> None:
    stub, learner = payment_service_pb2_grpc.PaymentServiceStub(channel), new_id()
    error = await refused(stub.CreateHold(hold(user_id=learner), metadata=bearer(signer.token())))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    error = await refused(stub.CreateHold(hold(), metadata=(EDUCATION,)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    await stub.CreateHold(hold(user_id=learner), metadata=(EDUCATION,))
    assert (payments.principals[-1].user_id, payments.principals[-1].service) == (learner, "education")
    assert payments.principals[-1].id == f"service:education/user:{learner}"


async def test_an_unknown_service_gains_nothing(channel: aio.Channel) -> None:
    stub = payment_service_pb2_grpc.PaymentServiceStub(channel)
    for identity in ("spiffe://azora.local/ns/default/sa/auth", "spiffe://evil/ns/default/sa/education", ""):
        error = await refused(stub.CreateHold(hold(), metadata=(("x-forwarded-client-cert", f"URI={identity}"),)))
        assert error.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)


async def test_calls_above_the_tier_are_refused_with_a_time_to_wait(channel: aio.Channel) -> None:
    stub = auth_service_pb2_grpc.AuthServiceStub(channel)

    async def login(address: str, email: str = "a@azora.world") -> None:
        request = auth_service_pb2.LoginRequest(email=email, password="x")
        await stub.Login(request, metadata=(("x-forwarded-for", f"6.6.6.6, {address}"),))

    for number in range(10):
        await login("10.0.1.1", f"{number}@azora.world")
    error = await refused(login("10.0.1.1", "z@azora.world"))
    assert (error.code(), error_reason(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert details(error) == ["ErrorInfo", "RetryInfo"]
    headers = dict(error.trailing_metadata())
    assert 0 < int(str(headers["retry-after"])) <= 60
    assert (headers["ratelimit-limit"], headers["ratelimit-remaining"]) == ("10", "0")
    assert not tuple(error.initial_metadata())
    await login("10.0.1.2", "z@azora.world")  # From another address.


async def test_a_call_ends_by_its_policys_timeout_and_frees_its_handler(
    channel: aio.Channel, signer: Signer, payments: Payments
) -> None:
    stub = payment_service_pb2_grpc.PaymentServiceStub(channel)
    request = payment_service_pb2.GetPaymentRequest(payment_id=new_id())
    error = await refused(stub.GetPayment(request, metadata=bearer(signer.token())))
    assert (error.code(), error_reason(error)) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_PASSED")
    assert payments.cancelled.is_set()


async def test_a_client_that_goes_away_frees_its_handler(
    channel: aio.Channel, signer: Signer, payments: Payments
) -> None:
    stub = payment_service_pb2_grpc.PaymentServiceStub(channel)
    request = payment_service_pb2.GetPaymentRequest(payment_id=new_id())
    with pytest.raises(aio.AioRpcError):
        await stub.GetPayment(request, metadata=bearer(signer.token()), timeout=0.1)
    async with asyncio.timeout(5):
        await payments.cancelled.wait()


async def test_streams_go_through_the_same_chain(channel: aio.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    bad = health.Watch(health_pb2.HealthCheckRequest(), metadata=(("authorization", "Bearer x"),))
    with pytest.raises(aio.AioRpcError) as caught:
        await bad.read()
    assert error_reason(caught.value) == "TOKEN_INVALID"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_the_services_in_both_versions(signer: Signer, version: str) -> None:
    service = Registration(
        token_service_pb2.DESCRIPTOR.services_by_name["TokenService"],
        Tokens(),
        token_service_pb2_grpc.add_TokenServiceServicer_to_server,
    )
    async with serving([service], signer, reflection=True) as target, channel_to(target) as channel:
        call = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        answers = [answer async for answer in call]
    names = {service.name for service in answers[0].list_services_response.service}
    assert {"azora.auth.v1.TokenService", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= names


async def test_each_call_is_one_line_of_json_without_secrets(
    channel: aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    secret = "hunter2\nhunter2"
    await auth_service_pb2_grpc.AuthServiceStub(channel).Login(
        auth_service_pb2.LoginRequest(email="who@azora.world", password=secret),
        metadata=(("x-request-id", "edge-1"), ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01")),
    )

    async def logged() -> list[logging.LogRecord]:
        return [record for record in caplog.records if "edge-1" in str(getattr(record, "lines", ""))]

    (record,) = await eventually(logged, within_seconds=2)
    text = JsonFormatter("auth").format(record)
    line = json.loads(text)
    assert line["method"] == "/azora.auth.v1.AuthService/Login"
    assert line["status"] == "OK"
    assert (line["request_id"], line["trace_id"]) == ("edge-1", "a" * 32)
    assert line.keys().isdisjoint({"reason", "user_id", "caller", "address"}), "unset fields are left out"
    assert len(text) < 375
    assert "hunter2" not in text
    assert "who@" not in text
    assert "\n" not in text


async def test_outside_a_call_nothing_is_known() -> None:
    assert current_request() is None
    with pytest.raises(LookupError):
        current_principal()
