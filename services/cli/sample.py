"""What a running local system says of itself at one moment: the gateway's metrics page, Envoy's admin interface."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from services.compiler.contract import ENVOY
from services.gateway.rates import DURATION, ERRORS, Rates
from services.local.envoy import admin_client
from services.local.health import host_address
from services.local.layout import register_path, replica_name
from services.local.orphans import read_register
from services.local.probes import no_authorities
from services.local.system import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from services.local.orphans import Registered
    from services.local.system import System

DEAD = {("azora_events", "dead"), ("azora_jobs", "failed")}
PAGE_SECONDS = 5.0
RETRIES = "upstream_rq_retry"
ACTIVE = "upstream_rq_active"
STATS = rf"^cluster\.[a-z-]+\.({RETRIES}|{ACTIVE}|circuit_breakers\.[a-z]+\.rq_[a-z_]*open)$"
"""Circuit breakers of calls. Those of connections are always open: services have one for all calls."""


@dataclass(slots=True)
class Replica:
    """What one process has counted since it started."""

    version: str = ""
    start_time: float = 0.0
    answers: bool = False
    errors: float = 0.0
    buckets: dict[float, float] = field(default_factory=lambda: defaultdict(float))
    """Calls by upper bound of their duration, cumulative, as Prometheus has them."""


@dataclass(slots=True)
class Upstream:
    """A service as Envoy sees it."""

    hosts: dict[str, str] = field(default_factory=dict)
    """The health of each replica by address."""
    active: int = 0
    retries: int = 0
    open_circuits: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Sample:
    """The system at one moment."""

    time: float
    processes: Mapping[str, Registered]
    database_answers: bool
    replicas: dict[str, Replica] = field(default_factory=lambda: defaultdict(Replica))
    upstreams: dict[str, Upstream] = field(default_factory=lambda: defaultdict(Upstream))
    versions: dict[str, str] = field(default_factory=dict)
    dead_letters: Counter[str] = field(default_factory=Counter)

    @property
    def expected(self) -> set[str]:
        """The names of all processes: those that run, and those that others ask for."""
        return {*self.processes, *self.replicas, ENVOY, "postgres"}

    def health(self, name: str) -> str:
        """Return the state of a process: healthy, not running, not answering, or what Envoy found."""
        process = self.processes.get(name)
        if process is None or not process.identity.alive:
            return "not running"
        if name == ENVOY:
            return "healthy" if ENVOY in self.versions else "not answering"
        if name == "postgres":
            return "healthy" if self.database_answers else "not answering"
        for upstream, address in process.addresses.items():
            state = self.upstreams[upstream].hosts.get(address, "unknown to Envoy")
            if state != "healthy":
                return state
        return "healthy" if self.replicas[name].answers else "not answering"


def rates(before: Replica | None, after: Replica | None, seconds: float) -> Rates | None:
    """Return what a replica served between two samples; None where it did not answer, or started in between."""
    if before is None or after is None or not after.answers or before.start_time != after.start_time:
        return None
    buckets = {bound: count - before.buckets[bound] for bound, count in after.buckets.items()}
    return Rates(buckets.get(float("inf"), 0.0) / seconds, (after.errors - before.errors) / seconds, buckets)


async def take_sample(system: System) -> Sample:
    """Ask the gateway, Envoy and PostgreSQL; what does not answer is left out."""
    layout = system.layout
    page, admin, database_answers = await asyncio.gather(
        _page(layout.socket(METRICS)), _ask_envoy(layout.socket("admin")), system.cluster.answers()
    )
    sample = Sample(time.time(), read_register(register_path(layout.home)), database_answers)
    _add_metrics(sample, page)
    if admin is not None:
        _add_envoy(sample, *admin)
    return sample


async def _page(socket: Path) -> str:
    """Return the gateway's metrics page; empty where it does not answer."""
    transport = httpx.AsyncHTTPTransport(uds=str(socket), verify=no_authorities())
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=PAGE_SECONDS) as client:
            return (await client.get("/metrics")).raise_for_status().text
    except httpx.HTTPError:
        return ""


async def _ask_envoy(socket: Path) -> tuple[Any, Any, Any] | None:
    """Return what Envoy says of itself, of its clusters and of their counters; None where it does not answer."""
    questions: tuple[tuple[str, dict[str, str]], ...] = (
        ("/server_info", {}),
        ("/clusters", {"format": "json"}),
        ("/stats", {"format": "json", "filter": STATS}),
    )
    try:
        async with admin_client(socket) as client:
            info, clusters, stats = [(await client.get(path, params=query)).json() for path, query in questions]
    except (httpx.HTTPError, ValueError):
        return None
    return info, clusters["cluster_statuses"], stats["stats"]


def _add_metrics(sample: Sample, page: str) -> None:
    dead: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(page):
        for point in family.samples:
            labels = point.labels
            service, number = labels["service"], int(labels["replica"])
            replica = sample.replicas[replica_name(service, number)]
            if point.name == "azora_up":
                replica.answers = bool(point.value)
            elif point.name == "azora_build_info":
                replica.version = labels["version"]
            elif point.name == "process_start_time_seconds":
                replica.start_time = point.value
            elif point.name == f"{DURATION}_bucket":
                replica.buckets[float(labels["le"])] += point.value
            elif point.name == f"{DURATION}_count" and labels["code"] in ERRORS:
                replica.errors += point.value
            elif (point.name, labels.get("state")) in DEAD:  # Of the service's database: the same of each replica.
                dead[service, point.name] = point.value
    for (service, _), letters in dead.items():
        sample.dead_letters[service] += int(letters)


def _add_envoy(sample: Sample, info: Any, clusters: Any, stats: Any) -> None:
    sample.versions[ENVOY] = info["version"].split("/")[1]
    for cluster in clusters:
        for host in cluster.get("host_statuses", []):
            sample.upstreams[cluster["name"]].hosts[host_address(host)] = _health(host["health_status"])
    for stat in stats:
        _, name, counter = stat["name"].split(".", 2)
        upstream = sample.upstreams[name]
        if counter == ACTIVE:
            upstream.active = stat["value"]
        elif counter == RETRIES:
            upstream.retries = stat["value"]
        elif stat["value"]:
            _, priority, circuit = counter.split(".")
            upstream.open_circuits.append(f"{priority} {circuit.removesuffix('_open')}")


def _health(status: Mapping[str, Any]) -> str:
    if status.get("failed_active_health_check"):
        return "unhealthy"
    return "ejected" if status.get("failed_outlier_check") else "healthy"
