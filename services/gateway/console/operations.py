"""What the console shows of the mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from services.gateway.errors import TraceNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from services.gateway.console.clients import BackgroundWorkClient
    from services.gateway.console.model import Trace
    from services.gateway.console.sampling import ReplicaCounts, Sample, Sampler
    from services.gateway.console.traces import Traces
    from services.gateway.health import MeshHealth
    from services.shared.background_work import BackgroundWork

DEFAULT_TRACES, MAX_LISTED_TRACES = 100, 500


class Mesh(NamedTuple):
    """The health of all services, and what was sampled of them."""

    healthy: Mapping[str, bool]
    """By name, the gateway last."""
    replicas: Sequence[tuple[ReplicaCounts, float]]
    """Each with its share of a CPU."""
    samples: Sequence[Sample]


class ConsoleOperations:
    """Reads of the gateway's memory, and of the services' background work."""

    def __init__(
        self, *, health: MeshHealth, sampler: Sampler, traces: Traces, work: BackgroundWorkClient, otlp_endpoint: str
    ) -> None:
        """`otlp_endpoint` is where traces go to; empty if they are kept here."""
        self._health = health
        self._sampler = sampler
        self._traces = traces
        self._work = work
        self.otlp_endpoint = otlp_endpoint

    def get_mesh(self, *, after: datetime | None) -> Mesh:
        """Return the health of all services, and the samples that were taken after a time."""
        replicas = [(replica, self._sampler.cpu_share(replica)) for replica in self._sampler.replicas]
        return Mesh(self._health.everywhere, replicas, self._sampler.samples(after))

    def list_traces(self, *, page_size: int, method: str) -> Sequence[Trace]:
        """Return the latest traces, the newest first."""
        return self._traces.latest(limit=min(page_size or DEFAULT_TRACES, MAX_LISTED_TRACES), method=method)

    def get_trace(self, *, trace_id: str) -> Trace:
        """Return a trace. Raises TraceNotFound."""
        trace = self._traces.find(trace_id)
        if trace is None:
            raise TraceNotFound
        return trace

    async def list_background_work(self) -> tuple[Sequence[BackgroundWork], Sequence[str]]:
        """Return the background work of the services that answer, and the names of those that do not."""
        return await self._work.list_background_work()
