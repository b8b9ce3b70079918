"""What a process counts: calls by method and code, their duration, what the rate limits decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import BytesValue
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from services.shared.metrics import ProcessMetrics
from services.shared.policy import METRICS
from services.shared.server import Registration
from tests.support.serving import Signer, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

LOGIN = "azora.auth.v1.AuthService/Login"
EMAIL = "somebody@azora.world"


class Accounts(auth_service_pb2_grpc.AuthServiceServicer):
    async def Login(self, request: Any, context: Any) -> auth_service_pb2.LoginResponse:
        return auth_service_pb2.LoginResponse()


@pytest.fixture
async def channel() -> AsyncIterator[aio.Channel]:
    async with (
        serving([Registration.of(Accounts())], Signer(), metrics=ProcessMetrics()) as target,
        aio.insecure_channel(target) as opened,
    ):
        yield opened


async def counted(channel: aio.Channel) -> Mapping[tuple[str, ...], float]:
    """Return all samples by name and the values of their labels."""
    call: Any = channel.unary_unary(METRICS, Empty.SerializeToString, BytesValue.FromString)
    text = (await call(Empty())).value.decode()
    assert EMAIL not in text
    assert "_created" not in text
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


async def login(channel: aio.Channel, password: str) -> None:
    stub = auth_service_pb2_grpc.AuthServiceStub(channel)
    await stub.Login(
        auth_service_pb2.LoginRequest(email=EMAIL, password=password), metadata=(("x-forwarded-for", "192.0.2.77"),)
    )


async def test_calls_are_counted_by_code_and_timed(channel: aio.Channel) -> None:
    assert ("azora_rpc_duration_seconds_count", "OK", LOGIN) not in await counted(channel)
    await login(channel, "x")
    await login(channel, "x")
    with pytest.raises(aio.AioRpcError):
        await login(channel, "")
    samples = await counted(channel)
    assert samples["azora_rpc_duration_seconds_count", "OK", LOGIN] == 2
    assert samples["azora_rpc_duration_seconds_count", "INVALID_ARGUMENT", LOGIN] == 1
    assert 0 < samples["azora_rpc_duration_seconds_sum", "OK", LOGIN] < 10


async def test_the_limits_decisions_are_counted_by_tier(channel: aio.Channel) -> None:
    for _ in range(13):
        try:
            await login(channel, "x")
        except aio.AioRpcError:
            continue
    samples = await counted(channel)
    assert samples["azora_rate_limit_decisions_total", "refused", "CREDENTIALS"] == 3
    assert samples["azora_rate_limit_decisions_total", "allowed", "CREDENTIALS"] > 5
    assert samples["azora_rpc_duration_seconds_count", "RESOURCE_EXHAUSTED", LOGIN] == 3


async def test_labels_hold_nothing_that_a_client_chose(channel: aio.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    await health.Check(health_pb2.HealthCheckRequest())
    made_up: Any = channel.unary_unary("/azora.auth.v1.AuthService/Made-up")
    with pytest.raises(aio.AioRpcError):
        await made_up(b"")
    await login(channel, "x")
    methods = {key[2] for key in await counted(channel) if key[0] == "azora_rpc_duration_seconds_count"}
    assert methods == {LOGIN}
    assert not any("192.0.2.77" in label for key in await counted(channel) for label in key)
