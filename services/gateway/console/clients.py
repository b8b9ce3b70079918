"""The services' background work over the mesh."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

from services.shared.background_work import to_background_work
from services.shared.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grpc import aio

    from services.shared.background_work import BackgroundWork

ANSWER_SECONDS = 2.0


class BackgroundWorkClient:
    """Asks each service, on a channel that raises typed errors. All declare the RPC, with messages of their own."""

    def __init__(self, channel: aio.Channel, services: Sequence[str]) -> None:
        self._calls = {name: _call(channel, name) for name in services}

    async def list_background_work(self) -> tuple[Sequence[BackgroundWork], Sequence[str]]:
        """Return the background work of the services that answer, and the names of those that do not."""
        answers = await asyncio.gather(*map(self._get, self._calls))
        unreachable = [name for name, answer in zip(self._calls, answers, strict=True) if answer is None]
        return [answer for answer in answers if answer is not None], unreachable

    async def _get(self, service: str) -> BackgroundWork | None:
        try:
            answer = await self._calls[service](b"", timeout=ANSWER_SECONDS)
        except DomainError:
            return None
        return to_background_work(answer.work)


def _call(channel: aio.Channel, service: str) -> Any:
    messages: Any = importlib.import_module(f"azora.{service}.v1.internal_service_pb2")
    path = f"/{messages.DESCRIPTOR.package}.InternalService/GetBackgroundWork"
    return channel.unary_unary(path, response_deserializer=messages.GetBackgroundWorkResponse.FromString)
