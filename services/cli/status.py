"""`azora status`: every process of the running local system, what it serves, and what Envoy thinks of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.cli.output import say, say_table
from services.cli.sample import Sample, rates, take_sample
from services.compiler.contract import ENVOY, GATEWAY, load_contract
from services.local.errors import NotRunning
from services.local.layout import lock_path
from services.local.orphans import is_running
from services.local.settings import read_settings
from services.local.up import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.cli.sample import Replica
    from services.local.system import System

HEADER = ("PROCESS", "PID", "HEALTH", "VERSION", "UPTIME", "CALLS/S", "ERRORS/S", "P50", "P99")
CIRCUITS = ("UPSTREAM", "HEALTHY", "ACTIVE", "RETRIES/S", "OPEN CIRCUITS")
HEALTHY = "healthy"


def show_status(*, interval_seconds: float) -> int:
    """Print the state of every process. Returns 1 unless all are healthy. Raises NotRunning."""
    settings = read_settings()
    if not is_running(lock_path(settings.home)):
        raise NotRunning(home=settings.home)
    system = describe(settings)
    before, after = asyncio.run(_watch(system, interval_seconds))
    rows = list(_processes(before, after))
    say_table(HEADER, rows)
    say("")
    say_table(CIRCUITS, _upstreams(before, after))
    for line in _dead_letters(after):
        say(line)
    return 0 if all(row[2] == HEALTHY for row in rows) else 1


async def _watch(system: System, interval_seconds: float) -> tuple[Sample, Sample]:
    before = await take_sample(system)
    await asyncio.sleep(interval_seconds)
    return before, await take_sample(system)


def _processes(before: Sample, after: Sample) -> Iterator[tuple[str, ...]]:
    for name in sorted(after.expected, key=_order):
        process, replica = after.processes.get(name), after.replicas.get(name)
        served = _served(before.replicas.get(name), replica, after.time - before.time)
        version = replica.version if replica else after.versions.get(name, "")
        uptime = _duration(after.time - replica.start_time) if replica and replica.start_time else "-"
        pid = str(process.identity.pid) if process else "-"
        yield (name, pid, after.health(name), version or "-", uptime, *served)


def _order(name: str) -> tuple[int, str]:
    """Services first, then what is before and behind them."""
    service = name.partition("-")[0]
    last = (GATEWAY, ENVOY, "postgres")
    return (last.index(service) + 1 if service in last else 0, name)


def _served(before: Replica | None, after: Replica | None, seconds: float) -> tuple[str, ...]:
    measured = rates(before, after, seconds)
    if measured is None:
        return ("-",) * 4
    return (
        f"{measured.calls_per_second:.1f}",
        f"{measured.errors_per_second:.1f}",
        *(_milliseconds(measured.quantile(share)) for share in (0.5, 0.99)),
    )


def _upstreams(before: Sample, after: Sample) -> Iterator[tuple[str, ...]]:
    for name in (*load_contract().owners, GATEWAY):
        upstream = after.upstreams.get(name)
        if upstream is None:
            yield (name, *("-",) * 4)
            continue
        earlier = before.upstreams.get(name, upstream)
        retries = max(0, upstream.retries - earlier.retries) / (after.time - before.time)
        healthy = sum(state == HEALTHY for state in upstream.hosts.values())
        circuits = ", ".join(upstream.open_circuits) or "-"
        yield name, f"{healthy}/{len(upstream.hosts)}", str(upstream.active), f"{retries:.1f}", circuits


def _dead_letters(sample: Sample) -> Iterator[str]:
    for service, count in sorted(sample.dead_letters.items()):
        if count:
            yield f"{service}: {count} dead letters; list them with `azora events list`"


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.1f} ms"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
