"""The metrics of all processes on one page, for Prometheus."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.wrappers_pb2 import BytesValue
from grpc import aio
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from services.compiler.contract import GATEWAY
from services.shared.policy import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.requests import Request

    from services.gateway.replicas import Replicas
    from services.shared.metrics import ProcessMetrics

logger = logging.getLogger(__name__)

COLLECT_SECONDS = 2.0


class ReplicaMetrics(NamedTuple):
    """The metrics of a process in Prometheus' text format; None if it does not answer."""

    service: str
    number: int
    text: bytes | None


class MetricsPage:
    """Collects what every replica counts; each is told apart by the labels `service` and `replica`."""

    def __init__(self, replicas: Replicas, own: ProcessMetrics) -> None:
        """Collect from the replicas of all services, and add this process's `own`."""
        self._replicas = replicas
        self._own = own
        self._silent: set[tuple[str, int]] = set()
        """Replicas that did not answer when they were last asked."""

    def app(self) -> Starlette:
        """Return the HTTP app."""

        async def metrics(_request: Request) -> Response:
            return Response(await self.text(), headers={"content-type": CONTENT_TYPE_LATEST})

        return Starlette(routes=[Route("/metrics", metrics)])

    async def collect(self) -> list[ReplicaMetrics]:
        """Return the metrics of all processes, this one's last."""
        replicas = [
            (service, number, channel)
            for service, channels in self._replicas.channels.items()
            for number, channel in channels.items()
        ]
        answers = await asyncio.gather(*(self._ask(*replica) for replica in replicas))
        collected = [
            ReplicaMetrics(service, number, answer)
            for (service, number, _), answer in zip(replicas, answers, strict=True)
        ]
        return [*collected, ReplicaMetrics(GATEWAY, 0, await self._own.text())]

    async def text(self) -> bytes:
        """Return the metrics of all processes that answer on one page; `azora_up` says which do."""
        page = _Page()
        for service, number, text in await self.collect():
            page.add(service, str(number), text)
        return generate_latest(page)

    async def _ask(self, service: str, number: int, channel: aio.Channel) -> bytes | None:
        call: Any = channel.unary_unary(METRICS, response_deserializer=BytesValue.FromString)
        try:
            answer = await call(b"", timeout=COLLECT_SECONDS)
        except aio.AioRpcError as error:
            if (service, number) not in self._silent:  # The console asks every two seconds.
                self._silent.add((service, number))
                details = {"target": service, "replica": number, "status": error.code().name}
                logger.warning("metrics not collected", extra=details)
            return None
        self._silent.discard((service, number))
        return bytes(answer.value)


class _Page:
    """The metrics of several processes by family, as Prometheus' format wants them."""

    def __init__(self) -> None:
        self._up = GaugeMetricFamily(
            "azora_up", "Whether the process answered with its metrics.", labels=("service", "replica")
        )
        self._families: dict[str, Metric] = {}

    def add(self, service: str, replica: str, text: bytes | None) -> None:
        self._up.add_metric((service, replica), text is not None)
        families: Iterable[Metric] = text_string_to_metric_families((text or b"").decode())
        for family in families:
            known = self._families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                known.add_sample(sample.name, sample.labels | {"service": service, "replica": replica}, sample.value)

    def collect(self) -> Iterator[Metric]:
        yield self._up
        yield from self._families.values()
