"""The health of every part of the mesh, asked of each, and of the whole."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.compiler.contract import Contract
    from services.gateway.settings import GatewaySettings
    from services.shared.server import Health

logger = logging.getLogger(__name__)

CHECK_SECONDS = 0.8
"""How long a part may take to answer: less than the second between two rounds."""
OPTIONS = [
    # A part that comes back is noticed within about a second; the default waits up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 250),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Parts:
    """Knows which services can do their work, and tells the health servicer under their gRPC names."""

    def __init__(self, settings: GatewaySettings, contract: Contract, health: Health) -> None:
        self._health = health
        self._names = {
            owner: [service.full_name for service in contract.declared if contract.owner(service) == owner]
            for owner in contract.owners
        }
        self._channels = {
            owner: [_channel(settings, target) for target in settings.services[owner]] for owner in contract.owners
        }
        self._healthy = dict.fromkeys(contract.owners, False)
        self._own = [name for name in contract.names if name not in itertools.chain(*self._names.values())]

    @property
    def channels(self) -> Mapping[str, Sequence[aio.Channel]]:
        """The connections to the replicas of each service."""
        return self._channels

    @property
    def healthy(self) -> Mapping[str, bool]:
        """Each service's name, and whether any replica of it served when it was last asked."""
        return dict(self._healthy)

    async def ready(self) -> bool:
        """Ask all parts, publish what they answered, and return whether all of them serve."""
        answers = await asyncio.gather(*map(self._serves, self._channels))
        for owner, serves in zip(self._channels, answers, strict=True):
            if serves != self._healthy[owner]:
                level = logging.INFO if serves else logging.WARNING
                logger.log(level, "service health changed", extra={"target": owner, "healthy": serves})
            self._healthy[owner] = serves
            for name in self._names[owner]:
                await self._health.set(name, SERVING if serves else NOT_SERVING)
        for name in self._own:
            await self._health.set(name, SERVING)
        return all(answers)

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(channel.close() for channel in itertools.chain(*self._channels.values())))

    async def _serves(self, owner: str) -> bool:
        return any(await asyncio.gather(*map(_answers, self._channels[owner])))


async def _answers(channel: aio.Channel) -> bool:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=CHECK_SECONDS)
    except aio.AioRpcError:
        return False
    return bool(answer.status == SERVING)


def _channel(settings: GatewaySettings, target: str) -> aio.Channel:
    if settings.mutual_tls is None or target.startswith("unix:"):
        return aio.insecure_channel(target, options=OPTIONS)
    certificate, key, authority = (path.read_bytes() for path in settings.mutual_tls)
    return aio.secure_channel(target, grpc.ssl_channel_credentials(authority, key, certificate), options=OPTIONS)
