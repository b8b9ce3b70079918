"""Readiness probes."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx

from services.local.errors import SystemUnhealthy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.local.layout import Layout
    from services.local.public_port import PublicPort

POLL_SECONDS = 0.03
ANSWER_SECONDS = 2.0
HEALTHY_SECONDS = 60.0
EMPTY_MESSAGE = bytes(5)
"""As gRPC frames it: not compressed, no bytes."""


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again until the answer is yes; how long is the caller's to bound."""
    while not await holds():  # noqa: ASYNC110 - another process has no event to wait for
        await asyncio.sleep(POLL_SECONDS)


async def accepts(address: str) -> bool:
    """Whether something accepts connections at the address, a unix socket's or a TCP port's."""
    try:
        if address.startswith("unix:"):
            _, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


def no_authorities() -> ssl.SSLContext:
    """Return what a client of plain HTTP verifies TLS with: loading real authorities takes longer than its calls."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def wait_until_healthy(port: PublicPort, layout: Layout) -> None:
    """Wait until every process is healthy, as seen through the edge. Raises SystemUnhealthy, which names one."""
    suspect = "envoy"
    async with port.http(timeout_seconds=ANSWER_SECONDS) as client:

        async def healthy() -> bool:
            nonlocal suspect
            suspect = await _first_unhealthy(client)
            return not suspect

        try:
            async with asyncio.timeout(HEALTHY_SECONDS):
                await until(healthy)
        except TimeoutError:
            raise SystemUnhealthy(process=suspect, seconds=HEALTHY_SECONDS, log=layout.log(suspect)) from None


async def _first_unhealthy(client: httpx.AsyncClient) -> str:
    """Return the name of a process that is not healthy; empty when all are."""
    try:
        answer = await client.get("/health")
        if answer.status_code == httpx.codes.OK:
            return "" if await _speaks_grpc(client) else "gateway"
        services = answer.json().get("services", {})
    except (httpx.HTTPError, ValueError):
        return "envoy"
    return next((name for name, status in services.items() if status != "healthy"), "gateway")


async def _speaks_grpc(client: httpx.AsyncClient) -> bool:
    """Whether gRPC gets to the gateway: Envoy checks each upstream's health by itself, and may not have done so yet."""
    headers = {"content-type": "application/grpc-web+proto"}
    answer = await client.post("/grpc.health.v1.Health/Check", content=EMPTY_MESSAGE, headers=headers)
    return b"grpc-status:0" in answer.content
