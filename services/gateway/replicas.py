"""Connections to every replica of each service, whether its address lists them or a name in DNS stands for all."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import time
from typing import TYPE_CHECKING

from azora import client

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from grpc import aio

    from services.gateway.settings import GatewaySettings

logger = logging.getLogger(__name__)

RESOLVE_SECONDS = 5.0
"""Time between two questions to DNS, as Envoy asks."""
CLOSE_SECONDS = 3.0
"""Time for calls to a replica that is gone: longer than any lasts."""


class Replicas:
    """Each replica of a service has a number for as long as it is there; another takes it afterwards."""

    def __init__(self, settings: GatewaySettings, owners: Iterable[str]) -> None:
        self._settings = settings
        self._targets = {owner: settings.services[owner] for owner in owners}
        self._resolved: dict[str, Sequence[str]] = {}
        """The addresses that names stand for, as DNS told them last."""
        self._resolve_time = float("-inf")
        self._channels: dict[str, dict[int, tuple[str, aio.Channel]]] = {owner: {} for owner in self._targets}
        """Of each service: address and channel by number."""
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def channels(self) -> Mapping[str, Mapping[int, aio.Channel]]:
        """The channels to the replicas of each service, by their numbers."""
        return {
            owner: {number: channel for number, (_, channel) in sorted(known.items())}
            for owner, known in self._channels.items()
        }

    async def refresh(self) -> None:
        """Connect to the replicas that there are now. Names that cannot be resolved stand for what they stood for."""
        if time.monotonic() < self._resolve_time + RESOLVE_SECONDS:
            return
        self._resolve_time = time.monotonic()
        names = {target for targets in self._targets.values() for target in targets if not target.startswith("unix:")}
        await asyncio.gather(*map(self._resolve, names))
        for owner, targets in self._targets.items():
            self._connect(owner, {address: target for target in targets for address in self._addresses(target)})

    async def close(self) -> None:
        """Close all connections."""
        known = itertools.chain.from_iterable(each.values() for each in self._channels.values())
        await asyncio.gather(*(channel.close() for _, channel in known), *self._closing)

    def _addresses(self, target: str) -> Sequence[str]:
        return (target,) if target.startswith("unix:") else self._resolved.get(target, ())

    async def _resolve(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        except OSError as error:
            logger.warning("name not resolved", extra={"target": target, "error": str(error)})
            return
        # A host with addresses of both families is one replica.
        family = min(family for family, *_ in found)
        self._resolved[target] = sorted({f"{address[0]}:{port}" for each, *_, address in found if each == family})

    def _connect(self, owner: str, addresses: Mapping[str, str]) -> None:
        """Connect to addresses, each of which is one of a target's, and to no others."""
        known = self._channels[owner]
        for number, (address, channel) in list(known.items()):
            if address not in addresses:
                del known[number]
                closing = asyncio.create_task(channel.close(CLOSE_SECONDS))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
        there = {address for address, _ in known.values()}
        for address, target in addresses.items():
            if address not in there:
                number = next(number for number in itertools.count() if number not in known)
                known[number] = address, self._channel(address, target)

    def _channel(self, address: str, target: str) -> aio.Channel:
        if self._settings.mutual_tls is None or address.startswith("unix:"):
            return client.connect(address, retries=False)
        identity, host = client.MeshIdentity(*self._settings.mutual_tls), target.rpartition(":")[0]
        return client.connect(address, identity=identity, server_name=host, retries=False)
