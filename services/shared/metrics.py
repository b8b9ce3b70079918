"""The metrics of this process, in Prometheus' text format."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import generate_latest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


class ProcessMetrics:
    """What this process counts. Labels are bounded: methods of the policy table, codes, tiers, states."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._refresh: list[Callable[[], Awaitable[None]]] = []
        ProcessCollector(registry=self.registry)
        build = Gauge("azora_build_info", "Version of the process; always 1.", ("version",), registry=self.registry)
        build.labels(version("azora")).set(1)

    def gauge(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """Show a value that is read for each exposition."""
        Gauge(name, documentation, registry=self.registry).set_function(read)

    def gauges(
        self,
        name: str,
        documentation: str,
        states: Mapping[str, str],
        read: Callable[[], Awaitable[object | None]],
    ) -> None:
        """Show values that are fetched for each exposition, one for each of `states`: its label, and its attribute.

        While there is nothing to read, the values are left out.
        """
        gauge = Gauge(name, documentation, ("state",), registry=self.registry)

        async def refresh() -> None:
            values = await read()
            gauge.clear()
            if values is not None:
                for state, attribute in states.items():
                    gauge.labels(state).set(getattr(values, attribute))

        self._refresh.append(refresh)

    async def text(self) -> bytes:
        """Return all metrics as they are now."""
        await asyncio.gather(*(refresh() for refresh in self._refresh))
        return generate_latest(self.registry)
