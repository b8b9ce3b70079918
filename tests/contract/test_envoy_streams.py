"""Streams at the public port: watches as NDJSON and as server-sent events, documents as they are."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from azora.education.v1 import enrollment_pb2, enrollment_service_pb2
from azora.payment.v1 import wallet_pb2, wallet_service_pb2
from azora.type.v1 import heartbeat_pb2
from google.api import httpbody_pb2
from google.rpc import code_pb2, status_pb2

from services.compiler.contract import load_contract
from services.compiler.service_config import service_config
from services.payment.transactions.convert import CHUNK_BYTES
from services.shared.limits import HEARTBEAT_SECONDS
from tests.support.bootstrap import routes_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.support.edge import Edge

pytestmark = pytest.mark.asyncio(loop_scope="session")

WATCH = "/v1/transactions:watch"
METHOD = "/azora.payment.v1.WalletService/WatchTransactions"
Answer = wallet_service_pb2.WatchTransactionsResponse


async def watched(_call: Any, context: Any) -> AsyncIterator[bytes]:
    """Tell of two transactions, and that it is over."""
    for sequence in (4, 5):
        yield Answer(transaction=wallet_pb2.Transaction(sequence=sequence)).SerializeToString()
    yield Answer(heartbeat=heartbeat_pb2.Heartbeat(sequence=5)).SerializeToString()
    error = status_pb2.Status(code=code_pb2.UNAVAILABLE, message="over")
    yield Answer(error=error).SerializeToString()
    await context.abort(grpc.StatusCode.UNAVAILABLE, "over")


def check(messages: list[dict[str, Any]]) -> None:
    """Check the messages of `watched`."""
    first, second, beat, error = messages
    assert [message["transaction"]["sequence"] for message in (first, second)] == ["4", "5"]
    assert beat["heartbeat"]["sequence"] == "5"
    assert (error["error"]["code"], error["error"]["message"]) == (14, "over")


async def test_a_watch_is_lines_of_json(http: httpx.AsyncClient, edge: Edge) -> None:
    edge.replicas["payment"][0].streams["WatchTransactions"] = watched
    answer = await http.get(f"{WATCH}?currency=AZR&afterSequence=3", headers=edge.bearer())
    assert answer.status_code == 200
    check([json.loads(line) for line in answer.text.splitlines()])
    (call,) = edge.received("payment")
    request = wallet_service_pb2.WatchTransactionsRequest.FromString(call.message)
    assert (call.path, request.currency, request.after_sequence) == (METHOD, "AZR", 3)


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json;q=0.5, Text/Event-Stream"])
async def test_a_watch_is_server_sent_events_for_those_who_accept_them(
    http: httpx.AsyncClient, edge: Edge, accept: str
) -> None:
    edge.replicas["payment"][0].streams["WatchTransactions"] = watched
    answer = await http.get(f"{WATCH}?afterSequence=3", headers=edge.bearer() | {"accept": accept})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    events = answer.text.rstrip("\n").split("\n\n")
    assert all(event.startswith("data: ") for event in events)
    check([json.loads(event.removeprefix("data: ")) for event in events])


async def test_progress_is_server_sent_events(http: httpx.AsyncClient, edge: Edge) -> None:
    progress = enrollment_pb2.Progress(completed_lessons=1, required_lessons=3, basis_points=3333)

    async def watching(_call: Any, _context: Any) -> AsyncIterator[bytes]:
        snapshot = enrollment_pb2.ProgressSnapshot(sequence=7, progress=progress)
        yield enrollment_service_pb2.WatchProgressResponse(snapshot=snapshot).SerializeToString()
        beat = heartbeat_pb2.Heartbeat(sequence=7)
        yield enrollment_service_pb2.WatchProgressResponse(heartbeat=beat).SerializeToString()

    for replica in edge.replicas["education"]:
        replica.streams["WatchProgress"] = watching
    enrollment_id = "0190b7a2-0000-7000-8000-000000000000"
    path = f"/v1/enrollments/{enrollment_id}/progress:watch"
    answer = await http.get(path, headers=edge.bearer() | {"accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.rstrip("\n").split("\n\n")
    first, beat = [json.loads(event.removeprefix("data: ")) for event in events]
    assert first["snapshot"]["sequence"] == "7"
    assert first["snapshot"]["progress"] == {"completedLessons": 1, "requiredLessons": 3, "basisPoints": 3333}
    assert beat["heartbeat"]["sequence"] == "7"
    (call,) = edge.received("education")
    request = enrollment_service_pb2.WatchProgressRequest.FromString(call.message)
    assert request.enrollment_id == enrollment_id


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_messages_arrive_as_they_are_sent_compressed_or_not(
    http: httpx.AsyncClient, edge: Edge, accept: str
) -> None:
    told = asyncio.Event()

    async def waiting(_call: Any, _context: Any) -> AsyncIterator[bytes]:
        yield Answer(heartbeat=heartbeat_pb2.Heartbeat(sequence=1)).SerializeToString()
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(told.wait(), home))
        yield Answer(heartbeat=heartbeat_pb2.Heartbeat(sequence=2)).SerializeToString()

    home = asyncio.get_running_loop()
    edge.replicas["payment"][0].streams["WatchTransactions"] = waiting
    async with http.stream("GET", WATCH, headers=edge.bearer() | {"accept": accept}) as answer:
        parts = answer.aiter_text()
        first = ""
        while '"1"' not in first:
            first += await anext(parts)
        told.set()
        rest = "".join([part async for part in parts])
    assert '"2"' not in first
    assert '"2"' in rest


async def test_a_refusal_before_the_first_message_is_a_status(http: httpx.AsyncClient, edge: Edge) -> None:
    async def refused(_call: Any, context: Any) -> AsyncIterator[bytes]:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many", (("retry-after", "5"),))
        yield b""

    edge.replicas["payment"][0].streams["WatchTransactions"] = refused
    for accept in ("*/*", "text/event-stream"):
        answer = await http.get(WATCH, headers=edge.bearer() | {"accept": accept})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
        assert answer.json()["code"] == 8
    assert len(edge.received("payment")) == 2, "nothing was tried again"
    assert (await http.get(WATCH)).status_code == 401
    assert (await http.get(WATCH, headers={"accept": "text/event-stream"})).status_code == 401


async def test_a_watch_that_fails_is_not_tried_again(http: httpx.AsyncClient, edge: Edge) -> None:
    async def draining(_call: Any, context: Any) -> AsyncIterator[bytes]:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "draining")
        yield b""

    edge.replicas["payment"][0].streams["WatchTransactions"] = draining
    assert (await http.get(WATCH, headers=edge.bearer())).status_code == 503
    assert len(edge.received("payment")) == 1


async def test_a_client_that_goes_away_ends_the_stream_at_the_service(http: httpx.AsyncClient, edge: Edge) -> None:
    ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    home = asyncio.get_running_loop()

    async def endless(_call: Any, _context: Any) -> AsyncIterator[bytes]:
        try:
            yield Answer(heartbeat=heartbeat_pb2.Heartbeat()).SerializeToString()
            await asyncio.Event().wait()
        finally:
            home.call_soon_threadsafe(ended.set_result, time.monotonic())

    edge.replicas["payment"][0].streams["WatchTransactions"] = endless
    async with http.stream("GET", WATCH, headers=edge.bearer()) as answer:
        await anext(answer.aiter_bytes())
        left = time.monotonic()
    assert await asyncio.wait_for(ended, 5) - left < 0.1


async def test_what_a_stream_is_stands_in_the_contract_alone(edge: Edge) -> None:
    policies = load_contract().policies
    bootstrap = json.loads((edge.folder / "envoy.json").read_text())
    routes = {
        route["match"]["path"]: route["route"]
        for listener in bootstrap["static_resources"]["listeners"]
        for route in routes_of(listener)
        if "path" in route["match"]
    }
    configs = {
        f"/{name['service']}/{name['method']}": config
        for config in service_config(load_contract())["methodConfig"]
        for name in config["name"]
    }
    watches = [path for path, policy in policies.items() if policy.watch]
    assert METHOD in watches
    for path, policy in policies.items():
        if policy.server_streaming and policy.tier is not None:
            assert routes[path]["idle_timeout"] == f"{3 * HEARTBEAT_SECONDS}s"
            assert routes[path]["cluster"] == f"{policy.owner}-streams", "they would fill the bounds of calls"
            assert "reset" not in routes[path]["retry_policy"]["retry_on"]
            assert "hedge_policy" not in routes[path]
            assert "retryPolicy" not in configs[path]


async def test_a_document_comes_as_it_is_however_long(http: httpx.AsyncClient, edge: Edge) -> None:
    async def exported(_call: Any, _context: Any) -> AsyncIterator[bytes]:
        for _ in range(200):
            body = httpbody_pb2.HttpBody(content_type="text/csv; charset=utf-8", data=b"x" * CHUNK_BYTES)
            yield body.SerializeToString()

    edge.replicas["payment"][0].streams["ExportStatement"] = exported
    answer = await http.get(
        "/v1/wallet/statement?format=STATEMENT_FORMAT_CSV&startTime=2026-03-01T00:00:00Z&endTime=2026-04-01T00:00:00.5Z",
        headers=edge.bearer(),
    )
    assert answer.status_code == 200, answer.text[:500]
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert len(answer.content) == 200 * CHUNK_BYTES
    (call,) = edge.received("payment")
    request = wallet_service_pb2.ExportStatementRequest.FromString(call.message)
    assert request.format == wallet_pb2.STATEMENT_FORMAT_CSV
    assert (request.start_time.ToJsonString(), request.end_time.ToJsonString()) == (
        "2026-03-01T00:00:00Z",
        "2026-04-01T00:00:00.500Z",
    )


async def test_filters_of_a_list_arrive(http: httpx.AsyncClient, edge: Edge) -> None:
    answer = await http.get(
        "/v1/transactions?type=TRANSACTION_TYPE_REFUND&startTime=2026-03-01T00:00:00Z&minAmount=-5&maxAmount=0"
        "&counterpartyWalletId=0190b7a2-0000-7000-8000-000000000000&reference=a%20b",
        headers=edge.bearer(),
    )
    assert answer.status_code == 200
    (call,) = edge.received("payment")
    request = wallet_service_pb2.ListTransactionsRequest.FromString(call.message)
    assert (request.type, request.min_amount, request.reference) == (wallet_pb2.TRANSACTION_TYPE_REFUND, -5, "a b")
    assert request.HasField("max_amount")
    assert request.start_time.seconds == 1772323200
