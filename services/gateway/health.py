"""The health of every service of the mesh, and of the mesh as a whole."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING, Any

from azora import client
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.compiler.contract import CHECKED_SERVICE, GATEWAY, HEALTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from grpc import aio

    from services.compiler.contract import Contract
    from services.gateway.replicas import Replicas
    from services.gateway.settings import GatewaySettings
    from services.shared.server import Health

logger = logging.getLogger(__name__)

CHECK_SECONDS = 0.8
"""Maximum time of a service's answer: less than the second between two rounds."""
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class MeshHealth:
    """Knows which services can do their work, and tells the health servicer under their gRPC names."""

    def __init__(self, settings: GatewaySettings, contract: Contract, health: Health, replicas: Replicas) -> None:
        self._health = health
        self._names = {
            owner: [service.full_name for service in contract.declared if contract.owner(service) == owner]
            for owner in contract.owners
        }
        self._replicas = replicas
        self._mesh = _mesh(settings)
        self._reachable = False
        self._healthy = dict.fromkeys(contract.owners, False)
        self._own = [name for name in contract.names if name not in itertools.chain(*self._names.values())]

    @property
    def healthy(self) -> Mapping[str, bool]:
        """Each service's name, and whether any replica of it served when it was last asked."""
        return dict(self._healthy)

    @property
    def everywhere(self) -> Mapping[str, bool]:
        """As `healthy`, with this process last: whether Envoy reaches it."""
        return self._healthy | {GATEWAY: self._reachable}

    @property
    def all_healthy(self) -> bool:
        """Whether all services serve, and Envoy reaches them and this process."""
        return self._reachable and all(self._healthy.values())

    async def ready(self) -> bool:
        """Ask all services, publish what they answered, and return whether all of them serve."""
        await self._replicas.refresh()
        channels = self._replicas.channels
        asked = (self._serves(owner, of_owner.values()) for owner, of_owner in channels.items())
        *answers, self._reachable = await asyncio.gather(*asked, self._through(GATEWAY))
        for owner, serves in zip(channels, answers, strict=True):
            if serves != self._healthy[owner]:
                level = logging.INFO if serves else logging.WARNING
                logger.log(level, "service health changed", extra={"target": owner, "healthy": serves})
            self._healthy[owner] = serves
            for name in self._names[owner]:
                await self._health.set(name, SERVING if serves else NOT_SERVING)
        for name in self._own:
            await self._health.set(name, SERVING)
        return self.all_healthy

    async def close(self) -> None:
        """Close the connection to Envoy."""
        if self._mesh is not None:
            await self._mesh.close()

    async def _serves(self, owner: str, channels: Iterable[aio.Channel]) -> bool:
        reachable, *answers = await asyncio.gather(self._through(owner), *map(_answers, channels))
        return reachable and any(answers)

    async def _through(self, service: str) -> bool:
        """Whether a service answers through Envoy; true where this process does not know Envoy."""
        name = HEALTH if service == GATEWAY else ""  # The gateway's "" is the health of all.
        return self._mesh is None or await _answers(self._mesh, name, ((CHECKED_SERVICE, service),))


async def _answers(channel: aio.Channel, name: str = "", metadata: client.Metadata = ()) -> bool:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=CHECK_SECONDS, metadata=metadata)
    except client.CallError:
        return False
    return bool(answer.status == SERVING)


def _mesh(settings: GatewaySettings) -> aio.Channel | None:
    if not settings.mesh_target or settings.mutual_tls is None:
        return None
    return client.connect(settings.mesh_target, identity=client.MeshIdentity(*settings.mutual_tls), retries=False)
