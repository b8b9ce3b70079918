"""One running edge for all tests of what clients meet there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio
from grpc import aio

from tests.support.edge import ORIGIN, Edge, running_edge
from tests.support.http import plain_http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def edge() -> AsyncIterator[Edge]:
    async with running_edge(cors_origins=(ORIGIN,), cors_localhost=False, replicas={"education": 2}) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def http(edge: Edge) -> AsyncIterator[httpx.AsyncClient]:
    edge.forget()
    async with plain_http(edge.url, timeout=10) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def channel(edge: Edge) -> AsyncIterator[aio.Channel]:
    edge.forget()
    async with aio.insecure_channel(edge.target) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two_payments() -> AsyncIterator[Edge]:
    """Run an edge with two replicas of Payment, and the interceptors of services before every stand-in."""
    async with running_edge(guarded=True, replicas={"payment": 2}) as running:
        yield running
