"""Deadlines and metadata that several calls have in common, and those of a call that is being served."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from azora import client
from azora.client import blocking
from azora.payment.v1 import wallet_service_pb2 as pb
from azora.payment.v1 import wallet_service_pb2_grpc
from grpc import aio

from tests.support.answering import answering
from tests.support.serving import short_folder

if TYPE_CHECKING:
    from collections.abc import Callable

TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"


async def test_all_calls_of_a_scope_share_its_time_and_metadata() -> None:
    async with answering() as (target, handler), client.connect(target) as channel:
        stub = wallet_service_pb2_grpc.WalletServiceStub(channel)
        with client.scope(timeout_seconds=3, metadata=client.bearer("t")):
            await stub.GetWallet(pb.GetWalletRequest())
            await stub.GetWallet(pb.GetWalletRequest(), timeout=1)
            await stub.GetWallet(pb.GetWalletRequest(), timeout=60)
            async for _ in stub.WatchTransactions(pb.WatchTransactionsRequest()):
                pass
        await stub.GetWallet(pb.GetWalletRequest())
    seconds = [call.seconds for call in handler.received]
    assert all(2 < seconds[number] <= 3.1 for number in (0, 2, 3))
    assert seconds[1] < 1.1
    assert seconds[4] == float("inf"), "only the contract's timeout holds again, which the server knows"
    assert [call.headers.get("authorization") for call in handler.received] == [*["Bearer t"] * 4, None]


async def test_a_scope_within_another_ends_no_later_and_replaces_metadata() -> None:
    async with answering() as (target, handler), client.connect(target) as channel:
        stub = wallet_service_pb2_grpc.WalletServiceStub(channel)
        with (
            client.scope(timeout_seconds=2, metadata=(("a", "outer"), ("b", "outer"))),
            client.scope(timeout_seconds=60, metadata=(("b", "inner"), ("c", "inner"))),
        ):
            await stub.GetWallet(pb.GetWalletRequest(), metadata=(("c", "own"),))
    (call,) = handler.received
    assert call.seconds < 2.1
    assert [call.headers[name] for name in "abc"] == ["outer", "inner", "own"]


async def test_a_scope_without_time_left_fails_its_calls() -> None:
    async with answering() as (target, handler), client.connect(target) as channel:
        stub = wallet_service_pb2_grpc.WalletServiceStub(channel)
        with client.scope(timeout_seconds=0), pytest.raises(client.CallError) as caught:
            await stub.GetWallet(pb.GetWalletRequest())
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert handler.received == []


async def test_blocking_calls_have_scopes_too() -> None:
    def call(target: str) -> None:
        with blocking.connect(target) as channel, blocking.scope(timeout_seconds=2, metadata=blocking.bearer("t")):
            wallet_service_pb2_grpc.WalletServiceStub(channel).GetWallet(pb.GetWalletRequest())

    async with answering() as (target, handler):
        await asyncio.to_thread(call, target)
    (received,) = handler.received
    assert received.seconds < 2.1
    assert received.headers["authorization"] == "Bearer t"


class Forwarding(grpc.GenericRpcHandler):
    """A service of somebody's own, which calls Azora for its callers."""

    def __init__(self, call: Callable[[aio.ServicerContext[bytes, bytes]], object]) -> None:
        self.call = call

    def service(self, _handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def handle(request: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes:
            outcome = self.call(context)
            assert asyncio.iscoroutine(outcome)
            await outcome
            return request

        return grpc.unary_unary_rpc_method_handler(handle)


async def test_a_call_that_is_served_hands_on_its_deadline_trace_and_token() -> None:
    async with answering() as (target, handler), client.connect(target) as azora, short_folder() as folder:

        async def forward(context: aio.ServicerContext[bytes, bytes]) -> None:
            with client.serving(context):
                await wallet_service_pb2_grpc.WalletServiceStub(azora).GetWallet(pb.GetWalletRequest())

        server = aio.server(handlers=[Forwarding(forward)])
        server.add_insecure_port(f"unix:{folder}/s")
        await server.start()
        headers = {"authorization": "Bearer t", "traceparent": TRACEPARENT, "x-request-id": "r", "x-other": "o"}
        async with aio.insecure_channel(f"unix:{folder}/s") as channel:
            call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/somebody.v1.Own/Call")
            await call(b"", timeout=2, metadata=tuple(headers.items()))
            await call(b"")
        await server.stop(None)
    first, second = handler.received
    assert first.seconds < 2.1
    assert {name: first.headers.get(name) for name in headers} == headers | {"x-other": None}
    assert second.seconds == float("inf")
