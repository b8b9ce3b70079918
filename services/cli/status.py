"""`azora status`: every process of the running local system, what it serves, and what Envoy thinks of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.cli.output import Column, Output
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

HEALTHY = "healthy"


def show_status(out: Output, *, interval_seconds: float) -> int:
    """Print the state of every process. Returns 1 unless all are healthy. Raises NotRunning."""
    settings = read_settings()
    if not is_running(lock_path(settings.home)):
        raise NotRunning(home=settings.home)
    system = describe(settings)
    before, after = asyncio.run(_watch(system, interval_seconds))
    rows = list(_processes(before, after))
    out.table(PROCESSES, rows)
    out.gap()
    out.table(UPSTREAMS, _upstreams(before, after))
    _say_dead_letters(out, after)
    return 0 if all(row[2] == HEALTHY for row in rows) else 1


async def _watch(system: System, interval_seconds: float) -> tuple[Sample, Sample]:
    before = await take_sample(system)
    await asyncio.sleep(interval_seconds)
    return before, await take_sample(system)


def _processes(before: Sample, after: Sample) -> Iterator[tuple[object, ...]]:
    for name in sorted(after.expected, key=_order):
        process, replica = after.processes.get(name), after.replicas.get(name)
        served = _served(before.replicas.get(name), replica, after.time - before.time)
        version = replica.version if replica else after.versions.get(name)
        uptime = after.time - replica.start_time if replica and replica.start_time else None
        pid = process.identity.pid if process else None
        yield (name, pid, after.health(name), version, uptime, *served)


def _order(name: str) -> tuple[int, str]:
    """Services first, then what is before and behind them."""
    service = name.partition("-")[0]
    last = (GATEWAY, ENVOY, "postgres")
    return (last.index(service) + 1 if service in last else 0, name)


def _served(before: Replica | None, after: Replica | None, seconds: float) -> tuple[float | None, ...]:
    measured = rates(before, after, seconds)
    if measured is None:
        return (None,) * 4
    return measured.calls_per_second, measured.errors_per_second, measured.quantile(0.5), measured.quantile(0.99)


def _upstreams(before: Sample, after: Sample) -> Iterator[tuple[object, ...]]:
    for name in (*load_contract().owners, GATEWAY):
        upstream = after.upstreams.get(name)
        if upstream is None:
            yield (name, *(None,) * 4)
            continue
        earlier = before.upstreams.get(name, upstream)
        retries = max(0, upstream.retries - earlier.retries) / (after.time - before.time)
        healthy = sum(state == HEALTHY for state in upstream.hosts.values())
        yield name, f"{healthy}/{len(upstream.hosts)}", upstream.active, retries, ", ".join(upstream.open_circuits)


def _say_dead_letters(out: Output, sample: Sample) -> None:
    for service, count in sorted(sample.dead_letters.items()):
        if count:
            line = f"{service}: {count} dead letters; list them with `azora events list`"
            out.say(line, service=service, deadLetters=count)


def _rate(per_second: float | None) -> str:
    return "-" if per_second is None else f"{per_second:.1f}"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f} ms"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


PROCESSES = (
    *map(Column, ("PROCESS", "PID", "HEALTH", "VERSION")),
    Column("UPTIME", _duration, "uptimeSeconds"),
    Column("CALLS/S", _rate, "callsPerSecond"),
    Column("ERRORS/S", _rate, "errorsPerSecond"),
    Column("P50", _milliseconds, "p50Seconds"),
    Column("P99", _milliseconds, "p99Seconds"),
)
UPSTREAMS = (
    *map(Column, ("UPSTREAM", "HEALTHY", "ACTIVE")),
    Column("RETRIES/S", _rate, "retriesPerSecond"),
    Column("OPEN CIRCUITS"),
)
