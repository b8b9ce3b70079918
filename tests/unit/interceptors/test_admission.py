"""A process that is busy refuses calls, and is not taken for a dead one."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from azora.client import error_reason
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.shared.server import Registration
from tests.support.serving import Signer, channel_to, serving

SERVING = health_pb2.HealthCheckResponse.SERVING


class Accounts(auth_service_pb2_grpc.AuthServiceServicer):
    """Keeps a call until it is let go."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.let_go = asyncio.Event()

    async def Login(self, request: Any, context: Any) -> auth_service_pb2.LoginResponse:
        self.entered.set()
        await self.let_go.wait()
        return auth_service_pb2.LoginResponse()


async def test_a_full_process_refuses_with_a_reason_and_still_answers_for_its_health() -> None:
    """Its health checks were refused too, so Envoy took it out, and with it every call of everyone."""
    accounts = Accounts()
    request = auth_service_pb2.LoginRequest(email="a@azora.world", password="x")
    async with (
        serving([Registration.of(accounts)], Signer(), max_concurrent_rpcs=1) as target,
        channel_to(target) as channel,
    ):
        stub = auth_service_pb2_grpc.AuthServiceStub(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        kept = asyncio.ensure_future(stub.Login(request))
        await accounts.entered.wait()
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Login(request)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error_reason(caught.value) == "OVERLOADED"
        assert dict(caught.value.trailing_metadata() or ())["retry-after"] == "1"
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
        accounts.let_go.set()
        await kept
        await stub.Login(request)


async def test_the_health_of_an_unknown_service_is_refused_with_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    """The package aborted the call by itself: a bare status, and an "unhandled error" in the log, for anyone."""
    async with serving([], Signer()) as target, channel_to(target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(aio.AioRpcError) as caught:
            await health.Check(health_pb2.HealthCheckRequest(service="nobody"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert error_reason(caught.value) == "SERVICE_UNKNOWN"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
