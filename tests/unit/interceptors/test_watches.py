"""Watches behind the chain: told of their failure, ended with their token, outside of the bound of calls."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from azora.client import bearer
from azora.payment.v1 import wallet_service_pb2 as pb
from azora.payment.v1 import wallet_service_pb2_grpc
from azora.type.v1 import heartbeat_pb2
from google.rpc import error_details_pb2
from grpc import aio

import interceptors.auth
from services.shared.errors import Overloaded, StreamInterrupted
from services.shared.ids import new_id
from services.shared.server import Registration
from services.shared.tokens import LEEWAY_SECONDS
from tests.support.refusals import described
from tests.support.serving import Signer, channel_to, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BEAT = pb.WatchTransactionsResponse(heartbeat=heartbeat_pb2.Heartbeat(sequence=1))


class Servicer(wallet_service_pb2_grpc.WalletServiceServicer):
    """Watches that say one thing, and then fail or wait."""

    def __init__(self, failure: Exception | None = None, *, at_once: bool = False) -> None:
        self._failure = failure
        self._at_once = at_once

    def WatchTransactions(self, request: Any, context: Any) -> AsyncIterator[pb.WatchTransactionsResponse]:
        return self._watch()

    async def _watch(self) -> AsyncIterator[pb.WatchTransactionsResponse]:
        if not self._at_once:
            yield BEAT
        if self._failure is not None:
            raise self._failure
        await asyncio.Event().wait()

    async def GetWallet(self, request: Any, context: Any) -> pb.GetWalletResponse:
        return pb.GetWalletResponse()


async def _rest(call: Any) -> tuple[list[pb.WatchTransactionsResponse], aio.AioRpcError]:
    """Read a watch to its end; return its messages and its status."""
    messages: list[pb.WatchTransactionsResponse] = []
    try:
        while (message := await call.read()) is not aio.EOF:
            messages.append(message)
    except aio.AioRpcError as failed:
        return messages, failed
    raise AssertionError("the watch ended without an error")


@pytest.mark.parametrize(
    ("failure", "code", "reason"),
    [
        (StreamInterrupted(), grpc.StatusCode.UNAVAILABLE, "STREAM_INTERRUPTED"),
        (Overloaded(retry_after_seconds=3), grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
        (KeyError("secret"), grpc.StatusCode.INTERNAL, "INTERNAL_ERROR"),
    ],
)
async def test_the_last_message_is_the_error_and_the_status_is_the_same(
    failure: Exception, code: grpc.StatusCode, reason: str
) -> None:
    signer = Signer()
    async with serving([Registration.of(Servicer(failure))], signer) as target, channel_to(target) as channel:
        stub = wallet_service_pb2_grpc.WalletServiceStub(channel)
        messages, failed = await _rest(
            stub.WatchTransactions(pb.WatchTransactionsRequest(), metadata=bearer(signer.token()))
        )
    assert messages[0] == BEAT
    (error,) = (message.error for message in messages[1:])
    info = error_details_pb2.ErrorInfo()
    assert error.details[0].Unpack(info)
    assert info.reason == reason == described(failed).reason
    assert failed.code() is code
    assert (error.code, error.message) == (code.value[0], failed.details())
    assert "secret" not in str(error)


async def test_a_watch_that_is_refused_at_once_has_a_status_alone() -> None:
    signer = Signer()
    failing = Servicer(Overloaded(retry_after_seconds=3), at_once=True)
    async with serving([Registration.of(failing)], signer) as target, channel_to(target) as channel:
        stub = wallet_service_pb2_grpc.WalletServiceStub(channel)
        messages, failed = await _rest(
            stub.WatchTransactions(pb.WatchTransactionsRequest(), metadata=bearer(signer.token()))
        )
    assert messages == []
    assert dict(failed.trailing_metadata())["retry-after"] == "3"


async def test_a_watch_ends_when_its_token_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interceptors.auth, "RECHECK_SECONDS", 0.05)
    signer = Signer()
    async with serving([Registration.of(Servicer())], signer) as target, channel_to(target) as channel:
        stub = wallet_service_pb2_grpc.WalletServiceStub(channel)
        token = signer.token(exp=int(time.time()) - LEEWAY_SECONDS + 2)
        started = time.monotonic()
        messages, failed = await _rest(stub.WatchTransactions(pb.WatchTransactionsRequest(), metadata=bearer(token)))
    assert time.monotonic() - started < 3
    assert messages[0] == BEAT
    assert messages[1].error.code == grpc.StatusCode.UNAUTHENTICATED.value[0]
    assert described(failed).reason == "TOKEN_EXPIRED"


async def test_a_watch_ends_when_its_session_is_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interceptors.auth, "RECHECK_SECONDS", 0.05)
    signer, session = Signer(), new_id()
    verifier = signer.verifier()
    monkeypatch.setattr(signer, "verifier", lambda: verifier)
    async with serving([Registration.of(Servicer())], signer) as target, channel_to(target) as channel:
        stub = wallet_service_pb2_grpc.WalletServiceStub(channel)
        call = stub.WatchTransactions(pb.WatchTransactionsRequest(), metadata=bearer(signer.token(sid=session)))
        assert await call.read() == BEAT
        verifier.revocations.revoke_session(session)
        _, failed = await _rest(call)
    assert described(failed).reason == "TOKEN_INVALID"


async def test_watches_take_no_places_from_calls() -> None:
    signer = Signer()
    metadata = bearer(signer.token())
    async with (
        serving([Registration.of(Servicer())], signer, max_concurrent_rpcs=1) as target,
        channel_to(target) as channel,
    ):
        stub = wallet_service_pb2_grpc.WalletServiceStub(channel)
        watches = [stub.WatchTransactions(pb.WatchTransactionsRequest(), metadata=metadata) for _ in range(3)]
        assert [await watch.read() for watch in watches] == [BEAT] * 3
        await stub.GetWallet(pb.GetWalletRequest(), metadata=metadata)
        for watch in watches:
            watch.cancel()
