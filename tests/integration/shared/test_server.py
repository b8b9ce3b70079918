"""Health follows the work behind a server: what keeps crashing is not SERVING."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from interceptors import chain
from interceptors.rate_limit import Limiter
from services.shared import background, server
from services.shared.server import Server
from services.shared.settings import Environment, ServerSettings
from tests.support.serving import Signer, channel_to, short_folder
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grpc import aio

    from services.shared.policy import MethodPolicy

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def _crash() -> None:
    raise KeyError("unforeseen")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "backoff_seconds", lambda *_, **__: 0.01)
    monkeypatch.setattr(server, "READINESS_SECONDS", 0.05)


@pytest.mark.parametrize("crashing", ["worker", "readiness"])
async def test_what_keeps_crashing_is_not_serving(crashing: str, caplog: pytest.LogCaptureFixture) -> None:
    """Background work ended with an unforeseen exception: health said SERVING for good, and nothing was logged."""
    signer, limiter = Signer(), Limiter(scale=1, redis_url="")
    asked = 0

    def guard(policies: Mapping[str, MethodPolicy]) -> aio.ServerInterceptor:
        return chain(policies, verifier=signer.verifier(), limiter=limiter)

    async def ready() -> bool:
        nonlocal asked
        asked += 1
        if crashing == "readiness" and asked > 1:
            raise KeyError("unforeseen")
        return True

    async with short_folder() as folder:
        settings = ServerSettings(listen=f"unix:{folder}/s", env=Environment.DEVELOPMENT, drain_seconds=0)
        work = [_crash] if crashing == "worker" else []
        running = Server(settings, guard, [], ready, background=work, close=[limiter.close])
        await running.start()
        try:
            async with channel_to(settings.listen) as channel:
                stub: Any = health_pb2_grpc.HealthStub(channel)

                async def lost() -> bool:
                    return bool((await stub.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING)

                await eventually(lost)
        finally:
            await running.stop()
    crashes = [record for record in caplog.records if record.message.startswith("background task crashed")]
    assert crashes
    assert all(record.exc_info for record in crashes)
