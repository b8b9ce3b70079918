"""Watches the health of every process while the system runs, and reports what changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx

from services.local.envoy import admin_client
from services.local.supervised import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from services.local.supervised import SupervisedProcess
    from services.local.supervisor import Supervisor
    from services.local.system import System

INTERVAL_SECONDS = 1.0
UNHEALTHY_POLLS = 2
"""Consecutive failed polls after which a process is reported unhealthy."""


async def watch_health(system: System, supervisor: Supervisor, say: Callable[[str], None]) -> None:
    """Report each process that becomes unhealthy or healthy again, until cancelled.

    One that is being restarted is left out: the supervisor reports that itself.
    """
    failed_polls: dict[str, int] = {}
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        running = [process for process in supervisor.processes if process.state is State.READY]
        unhealthy = await _unhealthy(system, running)
        for process in running:
            name = process.spec.name
            before = failed_polls.get(name, 0)
            failed_polls[name] = before + 1 if name in unhealthy else 0
            if failed_polls[name] == UNHEALTHY_POLLS:
                say(f"process health changed: {name} is unhealthy; its log: {process.spec.command.log}")
            elif before >= UNHEALTHY_POLLS and name not in unhealthy:
                say(f"process health changed: {name} is healthy")


async def _unhealthy(system: System, running: list[SupervisedProcess]) -> set[str]:
    """Return the names of those that fail their readiness probe, or Envoy's health checks."""
    probed = [process for process in running if process.state is State.READY]
    ready = await asyncio.gather(*(process.spec.ready() for process in probed))
    failed = {process.spec.name for process, is_ready in zip(probed, ready, strict=True) if not is_ready}
    failing = await failing_upstreams(system.layout.socket("admin"))
    return failed | {process.spec.name for process in probed if failing & set(process.spec.addresses.values())}


async def failing_upstreams(admin: Path) -> set[str]:
    """Return the addresses of the replicas that fail Envoy's health checks; none where Envoy does not answer.

    A frozen process still accepts connections, and one whose database is gone still runs: Envoy asks them by gRPC.
    """
    try:
        async with admin_client(admin) as client:
            clusters = (await client.get("/clusters", params={"format": "json"})).json()["cluster_statuses"]
    except (httpx.HTTPError, ValueError):
        return set()
    return {
        host_address(host)
        for cluster in clusters
        for host in cluster.get("host_statuses", [])
        if host["health_status"].get("failed_active_health_check")
    }


def host_address(host: Mapping[str, Any]) -> str:
    """Return the address of a host in Envoy's list of clusters, as `Addresses.listen` has it."""
    address = host["address"]
    if "pipe" in address:
        return f"unix:{address['pipe']['path']}"
    return f"{address['socket_address']['address']}:{address['socket_address']['port_value']}"
