"""Calls over several replicas: they share them, and those that are gone, frozen or about to stop are left out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2

from services.local.envoy import admin_client
from tests.support.edge import running_edge
from tests.support.http import plain_http
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.support.edge import Edge, Received

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAYMENT = {"amount": {"minorUnits": "1", "currency": "AZR"}, "type": "PAYMENT_TYPE_DONATION"}


@pytest.fixture
def edge(two_payments: Edge) -> Edge:
    two_payments.forget()
    return two_payments


@pytest_asyncio.fixture(loop_scope="module")
async def http(edge: Edge) -> AsyncIterator[httpx.AsyncClient]:
    async with plain_http(edge.url, headers=edge.bearer(), timeout=20) as client:
        yield client


async def test_replicas_share_the_calls(edge: Edge, http: httpx.AsyncClient) -> None:
    answers = [await http.get("/v1/wallet") for _ in range(60)]
    assert {answer.status_code for answer in answers} == {200}
    counts = [len(replica.received) for replica in edge.replicas["payment"]]
    assert sum(counts) == 60
    assert min(counts) > 10


async def test_a_replica_that_is_not_serving_is_left_out_until_it_is(edge: Edge, http: httpx.AsyncClient) -> None:
    leaving, _ = edge.replicas["payment"]

    async def is_asked() -> bool:
        before = len(leaving.received)
        answers = [await http.get("/v1/wallet") for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        return len(leaving.received) > before

    async def is_left_out() -> bool:
        return not await is_asked()

    await edge.set_health(leaving, health_pb2.HealthCheckResponse.NOT_SERVING)
    await eventually(is_left_out)
    await edge.set_health(leaving, health_pb2.HealthCheckResponse.SERVING)
    await eventually(is_asked)


async def test_a_keyed_call_that_hangs_is_made_to_another_replica(edge: Edge, http: httpx.AsyncClient) -> None:
    """As a frozen replica does it. After half of the method's time the first attempt is given up, not doubled."""
    ended: list[str] = []

    async def hang(_call: Received, _context: Any) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("given up")
        return b""

    frozen, well = edge.replicas["payment"]
    frozen.answers["CreatePayment"] = hang
    answers = await asyncio.gather(*(http.post("/v1/payments", json=PAYMENT) for _ in range(12)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(well.received) == 12
    assert frozen.received, "one of two gets calls"
    assert len(ended) == len(frozen.received)


async def test_a_replica_whose_connections_fail_is_out_before_its_health_is_known(edge: Edge) -> None:
    async with running_edge(replicas={"payment": 2}) as other:
        await other.stop(other.replicas["payment"][0])
        async with plain_http(other.url, headers=other.bearer()) as http:
            answers = await asyncio.gather(*(http.get("/v1/wallet") for _ in range(40)))
        assert {answer.status_code for answer in answers} == {200}
        async with admin_client(Path(other.profile.admin.path)) as admin:
            name = "cluster.payment.outlier_detection.ejections_enforced_consecutive_local_origin_failure"
            answer = await admin.get("/stats", params={"filter": f"^{name}$", "format": "json"})
        assert answer.json()["stats"][0]["value"] == 1
