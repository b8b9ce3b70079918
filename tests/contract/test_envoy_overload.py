"""What Envoy gives a service at once, how the rest is refused, and who has bounds of their own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from azora.client import MeshIdentity, connect
from azora.payment.v1.wallet_service_pb2 import WatchTransactionsResponse
from azora.type.v1 import heartbeat_pb2
from grpc import aio

from interceptors.admission import SHARES, TIER_SHARES
from services.compiler.contract import load_contract
from services.compiler.envoy import compile_bootstrap
from services.compiler.envoy.clusters import MAX_CALLS, MAX_CREDENTIALS, MAX_PENDING, MAX_REQUESTS
from services.shared.limits import MAX_CONCURRENT_RPCS
from services.shared.policy import Priority
from tests.support.bootstrap import routes_of
from tests.support.edge import running_edge
from tests.support.http import plain_http
from tests.support.refusals import described
from tests.support.serving import own_connection
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.edge import Edge

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("http")]

TRANSFER, EARN = (f"/azora.payment.v1.PaymentService/{name}" for name in ("CreateTransfer", "Earn"))
WALLET, WATCH = (f"/azora.payment.v1.WalletService/{name}" for name in ("GetWallet", "WatchTransactions"))
PROFILE, LOGOUT = (f"/azora.auth.v1.AuthService/{name}" for name in ("GetProfile", "Logout"))
STREAMS_PER_CONNECTION = 64
TOO_MANY = 20


@asynccontextmanager
async def filled(edge: Edge, path: str, count: int) -> AsyncIterator[list[aio.UnaryUnaryCall[Any, Any]]]:
    """Make so many calls that the service keeps until the end of the block; then all that are left succeed."""
    let_go = asyncio.Event()

    async def keep(_call: Any, _context: Any) -> bytes:
        await let_go.wait()
        return b""

    for replica in edge.replicas[path.split(".")[1]]:
        replica.answers[path.rpartition("/")[2]] = keep
    async with AsyncExitStack() as stack:
        connections = -(-count // STREAMS_PER_CONNECTION)
        channels = [await stack.enter_async_context(own_connection(edge.target)) for _ in range(connections)]
        metadata = tuple(edge.bearer().items())
        calls: list[Any] = [
            channels[number % len(channels)].unary_unary(path)(b"", metadata=metadata, timeout=10)  # type: ignore[arg-type]
            for number in range(count)
        ]
        yield calls
        edge.loop.call_soon_threadsafe(let_go.set)
        codes = [await call.code() for call in calls]
        assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert codes.count(grpc.StatusCode.OK) >= count - TOO_MANY


async def refused(calls: list[aio.UnaryUnaryCall[Any, Any]]) -> list[aio.AioRpcError]:
    """Return how the calls failed that did by now."""
    ended = [call for call in calls if call.done()]
    results = await asyncio.gather(*ended, return_exceptions=True)
    return [result for result in results if isinstance(result, aio.AioRpcError)]


async def test_a_service_is_given_few_calls_at_once_some_wait_and_the_rest_is_refused(edge: Edge) -> None:
    waiting = MAX_CALLS + MAX_PENDING["HIGH"]
    # Calls that come before the connection for money is open wait for it, and no more of them than may wait.
    async with own_connection(edge.target) as channel:
        await channel.unary_unary(TRANSFER)(b"", metadata=tuple(edge.bearer().items()), timeout=10)  # type: ignore[arg-type]
    edge.forget()
    async with filled(edge, TRANSFER, waiting + TOO_MANY) as calls:

        async def settled() -> bool:
            return len(await refused(calls)) == TOO_MANY and len(edge.received("payment")) == MAX_CALLS

        await eventually(settled)
        for refusal in await refused(calls):
            answer = described(refusal)
            assert (answer.code, answer.reason, answer.retry_after_seconds) == ("RESOURCE_EXHAUSTED", "OVERLOADED", 1)


async def test_what_a_service_is_given_at_once_follows_its_replicas_while_envoy_runs() -> None:
    """Whatever number the circuit breakers are compiled for."""
    async with running_edge() as edge, plain_http(edge.url, headers=edge.bearer()) as http:
        second = await edge.add("payment")
        edge.publish("payment", 0, 1)

        async def is_asked() -> bool:
            return (await http.get("/v1/wallet")).status_code == httpx.codes.OK and bool(second.received)

        await eventually(is_asked)
        edge.forget()
        async with filled(edge, WALLET, 3 * MAX_CALLS):  # Both get enough, however they are chosen.

            async def is_full() -> bool:
                return [len(replica.received) for replica in edge.replicas["payment"]] == [MAX_CALLS, MAX_CALLS]

            await eventually(is_full)


async def test_while_money_is_refused_reads_watches_and_services_are_served(
    edge: Edge, channel: aio.Channel, http: httpx.AsyncClient
) -> None:
    async def beats(_call: Any, _context: Any) -> AsyncIterator[bytes]:
        yield WatchTransactionsResponse(heartbeat=heartbeat_pb2.Heartbeat(sequence=1)).SerializeToString()

    edge.replicas["payment"][0].streams["WatchTransactions"] = beats
    folder, metadata = edge.folder / "pki", tuple(edge.bearer().items())
    identity = MeshIdentity(folder / "education.crt", folder / "education.key", folder / "ca.crt")
    async with (
        filled(edge, TRANSFER, MAX_CALLS + MAX_PENDING["HIGH"] + 1) as calls,
        connect(f"unix:{edge.folder}/mesh.sock", identity=identity) as mesh,
    ):

        async def overloaded() -> bool:
            return bool(await refused(calls))

        await eventually(overloaded)
        await channel.unary_unary(WALLET)(b"", metadata=metadata, timeout=1)  # type: ignore[arg-type]
        await mesh.unary_unary(EARN)(b"", timeout=1)  # type: ignore[arg-type]
        assert (await http.get("/v1/transactions:watch", headers=edge.bearer())).status_code == 200


async def test_who_signs_out_does_not_wait_for_reads(edge: Edge, channel: aio.Channel) -> None:
    async with filled(edge, PROFILE, MAX_CALLS + MAX_PENDING["DEFAULT"] + 1) as calls:

        async def overloaded() -> bool:
            return bool(await refused(calls))

        await eventually(overloaded)
        await channel.unary_unary(LOGOUT)(b"", metadata=tuple(edge.bearer().items()), timeout=1)  # type: ignore[arg-type]


async def test_sign_out_and_money_have_high_priority_with_thresholds_below_what_a_process_admits(edge: Edge) -> None:
    bootstrap = compile_bootstrap(edge.profile)["static_resources"]
    policies = load_contract().policies
    money = {path for path, policy in policies.items() if policy.tier and policy.tier.name == "MONEY"}
    high = {
        route["match"]["path"]
        for listener in bootstrap["listeners"]
        for route in routes_of(listener)
        if route.get("route", {}).get("priority") == "HIGH"
    }
    assert high >= money | {LOGOUT}
    assert not high & {PROFILE, WALLET, WATCH}
    assert sum(MAX_REQUESTS.values()) + MAX_CREDENTIALS < MAX_CONCURRENT_RPCS
    assert TIER_SHARES["CREDENTIALS"] * MAX_CONCURRENT_RPCS == MAX_CREDENTIALS
    given = min(2 * MAX_CALLS, MAX_REQUESTS["DEFAULT"])  # By two workers.
    assert SHARES[Priority.LOW] * MAX_CONCURRENT_RPCS < given, "NORMAL ones find no place"
    clusters = {cluster["name"]: cluster for cluster in bootstrap["clusters"]}
    for name in ("payment", "payment-mesh"):
        thresholds = clusters[name]["circuit_breakers"]["thresholds"]
        assert {each["priority"]: each["max_requests"] for each in thresholds} == MAX_REQUESTS
    assert clusters["education"]["circuit_breakers"]["thresholds"][0]["max_requests"] == 2 * MAX_REQUESTS["DEFAULT"]
