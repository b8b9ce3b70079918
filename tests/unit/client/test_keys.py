"""Keys that azora.client sets: which calls get one, and that all attempts of a call carry the same."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from azora.client import blocking, connect
from azora.client._keys import keyed_methods
from azora.payment.v1 import payment_service_pb2 as pb
from azora.payment.v1 import payment_service_pb2_grpc
from grpc import aio

from services.compiler.contract import load_contract
from services.shared.ids import new_id
from tests.support.cutting import cutting
from tests.support.serving import short_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEADER = "idempotency-key"


class Edge(grpc.GenericRpcHandler):
    """Books every call under its key, or as the edge does under a new id, and answers with an empty message."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.attempts: list[str] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def handle(_request: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes:
            headers = dict(context.invocation_metadata() or ())
            self.attempts.append(handler_call_details.method.rpartition("/")[2])
            self.keys.append(str(headers.get(HEADER, "")))
            return b""

        return grpc.unary_unary_rpc_method_handler(handle)

    @property
    def booked(self) -> int:
        return len({key or new_id() for key in self.keys})


@asynccontextmanager
async def edge() -> AsyncIterator[tuple[str, Edge]]:
    handler, server = Edge(), aio.server()
    server.add_generic_rpc_handlers((handler,))
    async with short_folder() as folder:
        server.add_insecure_port(f"unix:{folder}/s")
        await server.start()
        yield f"unix:{folder}/s", handler
        await server.stop(None)


def test_the_methods_that_take_a_key_are_those_of_the_contract() -> None:
    policies = load_contract().policies
    assert set(keyed_methods()) == {path for path, policy in policies.items() if policy.takes_idempotency_key}


async def test_a_payment_whose_answer_was_lost_is_made_once() -> None:
    async with edge() as (target, handler), cutting(target) as (through, proxy), connect(through) as channel:
        await payment_service_pb2_grpc.PaymentServiceStub(channel).CreatePayment(pb.CreatePaymentRequest())
    assert (proxy.cut, len(handler.keys), handler.booked) == (1, 2, 1)
    assert handler.keys[0] == handler.keys[1] != ""


async def test_a_blocking_payment_whose_answer_was_lost_is_made_once() -> None:
    def pay(target: str) -> None:
        with blocking.connect(target) as channel:
            payment_service_pb2_grpc.PaymentServiceStub(channel).CreatePayment(pb.CreatePaymentRequest())

    async with edge() as (target, handler), cutting(target) as (through, proxy):
        await asyncio.to_thread(pay, through)
    assert (proxy.cut, len(handler.keys), handler.booked) == (1, 2, 1)
    assert handler.keys[0] == handler.keys[1] != ""


async def test_what_has_side_effects_and_no_key_is_not_retried() -> None:
    async with edge() as (target, handler), cutting(target) as (through, _), connect(through) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await auth_service_pb2_grpc.AuthServiceStub(channel).Logout(auth_service_pb2.LogoutRequest())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert handler.attempts == ["Logout"]


class Repeats(aio.UnaryUnaryClientInterceptor):
    """Makes every call twice, as an interceptor that retries does."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        await (await continuation(client_call_details, request))
        return await continuation(client_call_details, request)


async def test_an_interceptor_that_retries_sends_the_same_key_again() -> None:
    async with edge() as (target, handler), connect(target, interceptors=[Repeats()]) as channel:
        await payment_service_pb2_grpc.PaymentServiceStub(channel).CreatePayment(pb.CreatePaymentRequest())
    assert (len(handler.keys), handler.booked) == (2, 1)
    assert handler.keys[0] == handler.keys[1] != ""


async def test_a_key_of_the_callers_own_stays_and_other_methods_get_none() -> None:
    async with edge() as (target, handler), connect(target) as channel:
        payments = payment_service_pb2_grpc.PaymentServiceStub(channel)
        await payments.CreatePayment(pb.CreatePaymentRequest(request_id="mine"))
        await payments.CreatePayment(pb.CreatePaymentRequest(), metadata=((HEADER, "also mine"),))
        await payments.GetPayment(pb.GetPaymentRequest())
        raw: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/azora.payment.v1.PaymentService/CreatePayment"
        )
        await raw(pb.CreatePaymentRequest(request_id="mine").SerializeToString())
        assert handler.keys == ["", "also mine", "", ""]
        await raw(pb.CreatePaymentRequest().SerializeToString())
        await raw(b"\xff\xff")
        await payments.CreatePayment(pb.CreatePaymentRequest(), metadata=aio.Metadata(("authorization", "x")))
    assert all(handler.keys[4:])
    assert len(set(handler.keys[4:])) == 3, "each call has a key of its own"
