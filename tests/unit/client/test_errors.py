"""Errors of failed calls through azora.client: what they say, to asynchronous and to blocking stubs."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING

import grpc
import pytest
from azora import client
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from azora.client import blocking
from azora.payment.v1 import wallet_service_pb2 as pb
from azora.payment.v1 import wallet_service_pb2_grpc
from grpc import aio

from services.shared.errors import FieldViolation, RateLimited, ValidationFailed
from tests.support.answering import answering

if TYPE_CHECKING:
    from collections.abc import Callable

INVALID = ValidationFailed(violations=[FieldViolation("email", "must be an e-mail address", "string.email")])
LIMITED = RateLimited(retry_after_seconds=2.5, tier="USER")


def check_limited(error: client.CallError) -> None:
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details() == LIMITED.message
    assert (error.reason, error.metadata, error.retry_after_seconds) == ("RATE_LIMITED", {"tier": "USER"}, 2.5)
    assert error.violations == ()
    assert str(error) == f"RESOURCE_EXHAUSTED RATE_LIMITED: {LIMITED.message}"


async def test_a_refusal_says_why() -> None:
    async with answering(LIMITED) as (target, _), client.connect(target) as channel:
        with pytest.raises(client.CallError) as caught:
            await wallet_service_pb2_grpc.WalletServiceStub(channel).GetWallet(pb.GetWalletRequest())
    check_limited(caught.value)
    assert isinstance(caught.value, aio.AioRpcError), "grpc's own exception catches it, too"
    check_limited(pickle.loads(pickle.dumps(caught.value)))  # noqa: S301 - our own


async def test_an_invalid_request_lists_its_violations() -> None:
    async with answering(INVALID) as (target, _), client.connect(target) as channel:
        call = auth_service_pb2_grpc.AuthServiceStub(channel).Login(auth_service_pb2.LoginRequest())
        with pytest.raises(client.CallError) as caught:
            await call
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.violations == (client.Violation("email", "must be an e-mail address", "string.email"),)
    assert caught.value.retry_after_seconds is None
    assert str(caught.value).endswith("; email: must be an e-mail address")


async def test_a_stream_is_refused_after_what_it_sent() -> None:
    async with answering(LIMITED) as (target, _), client.connect(target) as channel:
        call = wallet_service_pb2_grpc.WalletServiceStub(channel).WatchTransactions(pb.WatchTransactionsRequest())
        responses = aiter(call)
        assert await anext(responses) == pb.WatchTransactionsResponse()
        with pytest.raises(client.CallError) as caught:
            await anext(responses)
    check_limited(caught.value)


async def test_a_stream_can_be_read_and_cancelled() -> None:
    async with answering() as (target, _), client.connect(target) as channel:
        stub = wallet_service_pb2_grpc.WalletServiceStub(channel)
        call = stub.WatchTransactions(pb.WatchTransactionsRequest())
        assert await call.read() == pb.WatchTransactionsResponse()
        call.cancel()
        assert await call.code() is grpc.StatusCode.CANCELLED
        assert len([each async for each in stub.WatchTransactions(pb.WatchTransactionsRequest())]) == 3


def _called(stub: wallet_service_pb2_grpc.WalletServiceStub) -> object:
    return stub.GetWallet(pb.GetWalletRequest())


def _with_call(stub: wallet_service_pb2_grpc.WalletServiceStub) -> object:
    return stub.GetWallet.with_call(pb.GetWalletRequest())[0]


def _future(stub: wallet_service_pb2_grpc.WalletServiceStub) -> object:
    return stub.GetWallet.future(pb.GetWalletRequest()).result()


def _failed_future(stub: wallet_service_pb2_grpc.WalletServiceStub) -> object:
    done: list[object] = []
    future = stub.GetWallet.future(pb.GetWalletRequest())
    future.add_done_callback(done.append)
    error = future.exception()
    if error:
        assert done == [future]
        raise error
    return future.result()


def _last_of_stream(stub: wallet_service_pb2_grpc.WalletServiceStub) -> object:
    return list(stub.WatchTransactions(pb.WatchTransactionsRequest()))[-1]


@pytest.mark.parametrize("call", [_called, _with_call, _future, _failed_future, _last_of_stream])
async def test_blocking_calls_are_refused_alike(
    call: Callable[[wallet_service_pb2_grpc.WalletServiceStub], object],
) -> None:
    def make(target: str) -> object:
        with blocking.connect(target) as channel:
            return call(wallet_service_pb2_grpc.WalletServiceStub(channel))

    async with answering(LIMITED) as (target, handler):
        with pytest.raises(blocking.CallError) as caught:
            await asyncio.to_thread(make, target)
        check_limited(caught.value)
        handler.refusal = None
        assert await asyncio.to_thread(make, target) in (pb.GetWalletResponse(), pb.WatchTransactionsResponse())


async def test_without_a_server_there_is_no_reason() -> None:
    async with client.connect("unix:/tmp/azora-nobody") as channel:
        with pytest.raises(client.CallError) as caught:
            await wallet_service_pb2_grpc.WalletServiceStub(channel).GetWallet(pb.GetWalletRequest())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert (caught.value.reason, caught.value.metadata, caught.value.violations) == ("", {}, ())
    assert str(caught.value).startswith("UNAVAILABLE: ")


async def test_errors_of_other_channels_can_be_read() -> None:
    def blocked(target: str) -> None:
        with grpc.insecure_channel(target) as channel:
            wallet_service_pb2_grpc.WalletServiceStub(channel).GetWallet(pb.GetWalletRequest())

    async with answering(LIMITED) as (target, _), aio.insecure_channel(target) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await wallet_service_pb2_grpc.WalletServiceStub(channel).GetWallet(pb.GetWalletRequest())
        with pytest.raises(grpc.RpcError) as blocking_caught:
            await asyncio.to_thread(blocked, target)
    for error in (caught.value, blocking_caught.value):
        check_limited(client.CallError.of(error))
        assert (client.error_reason(error), client.error_info(error).metadata["tier"]) == ("RATE_LIMITED", "USER")
