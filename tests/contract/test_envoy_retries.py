"""Who tries a call again: Envoy, where it was answered or lost; nobody else, and no client what Envoy has tried.

The services are stand-ins behind the real interceptors.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from azora import client
from azora.education.v1 import enrollment_service_pb2, enrollment_service_pb2_grpc
from grpc import aio
from pydantic import SecretStr

from interceptors.client import OutgoingCalls
from interceptors.errors import NO_CLIENT_RETRY
from services.education.clients import PaymentClient
from services.shared.errors import DependencyUnavailable, Overloaded
from services.shared.ids import new_id
from services.shared.money import Money
from services.shared.server import connect_to_mesh
from services.shared.settings import ServiceSettings
from tests.support.edge import Edge, error_info, failure, running_edge
from tests.support.http import plain_http
from tests.support.serving import own_connection
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.edge import Received, Replica

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_RETRIES = 64
"""As many as the calls of a replica that is killed; a fifth of the burst is fewer."""
BURST = 3 * MAX_RETRIES
STREAMS_PER_CONNECTION = 64
REFUND = "/azora.payment.v1.PaymentService/CreateRefund"
READ = "/azora.payment.v1.WalletService/GetWallet"


@pytest.fixture
def edge(two_payments: Edge) -> Edge:
    two_payments.forget()
    return two_payments


async def unavailable(_call: Received, _context: Any) -> bytes:
    raise DependencyUnavailable(retry_after_seconds=1)


async def test_what_a_replica_answers_unavailable_is_asked_of_another(edge: Edge) -> None:
    sick, well = edge.replicas["payment"]
    sick.answers["GetWallet"] = unavailable
    async with plain_http(edge.url, headers=edge.bearer()) as http:
        answers = [await http.get("/v1/wallet") for _ in range(20)]
    assert {answer.status_code for answer in answers} == {200}
    assert sick.received
    assert len(well.received) == 20


async def test_a_call_that_a_replica_drops_is_made_to_another(edge: Edge) -> None:
    async with running_edge(guarded=True, replicas={"payment": 2}) as other:
        dying, well = other.replicas["payment"]
        dying.answers["CreatePayment"] = dies_with(dying)
        headers = other.bearer()
        body = {"amount": {"minorUnits": "1", "currency": "AZR"}, "type": "PAYMENT_TYPE_DONATION"}
        async with plain_http(other.url, headers=headers) as http:
            answers = [await http.post("/v1/payments", json=body) for _ in range(10)]
    assert {answer.status_code for answer in answers} == {200}, answers[0].text
    assert len(dying.received) == 1, "it was asked once, and is no more"
    keys = [call.headers["x-request-id"] for call in (*dying.received, *well.received)]
    assert len(set(keys)) == 10, "the request id is the key of both attempts"


async def test_nothing_is_tried_again_that_may_not_be(edge: Edge) -> None:
    (auth,) = edge.replicas["auth"]
    auth.answers["Login"] = unavailable
    request = {"email": "a@example.com", "password": "the password"}
    async with plain_http(edge.url) as http:
        assert (await http.post("/v1/auth/login", json=request)).status_code == 503
    assert len(auth.received) == 1


async def test_a_refusal_for_overload_has_one_attempt(edge: Edge) -> None:
    async def overloaded(_call: Received, _context: Any) -> bytes:
        raise Overloaded(retry_after_seconds=1)

    for replica in edge.replicas["payment"]:
        replica.answers["GetWallet"] = overloaded
    async with client.connect(edge.target) as channel:
        refused = await failure(channel, READ, b"", edge.bearer())
    assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(edge.received("payment")) == 1


async def test_retries_stay_within_their_budget() -> None:
    """Each call of a burst would be made four times to a service that is sick already."""
    attempts, let_go = Counter[str](), asyncio.Event()

    async def first_fails_and_second_hangs(call: Received, context: Any) -> bytes:
        request_id = call.headers["x-request-id"]
        attempts[request_id] += 1
        if attempts[request_id] > 1:
            await let_go.wait()
        await context.abort(grpc.StatusCode.UNAVAILABLE)
        raise AssertionError

    async with running_edge(replicas={"payment": 4}) as edge, AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(own_connection(edge.target)) for _ in range(BURST // STREAMS_PER_CONNECTION)
        ]
        metadata = tuple(edge.bearer().items())

        def refund(number: int) -> Any:
            return channels[number % len(channels)].unary_unary(REFUND)(b"", metadata=metadata)  # type: ignore[arg-type]

        async def all_are_asked() -> bool:  # Envoy's workers learn within a second that they are healthy.
            await asyncio.gather(*map(refund, range(10)))
            return all(replica.received for replica in edge.replicas["payment"])

        await eventually(all_are_asked)
        for replica in edge.replicas["payment"]:
            replica.answers["CreateRefund"] = first_fails_and_second_hangs
        calls = [refund(number) for number in range(BURST)]

        async def settled() -> bool:
            refused = [call for call in calls if call.done()]
            return len(refused) + sum(each > 1 for each in attempts.values()) == BURST

        await eventually(settled, within_seconds=4)
        assert Counter(attempts.values()) == {1: BURST - MAX_RETRIES, 2: MAX_RETRIES}
        edge.loop.call_soon_threadsafe(let_go.set)
        assert {await call.code() for call in calls} == {grpc.StatusCode.UNAVAILABLE}


async def test_a_client_does_not_try_again_what_envoy_has(edge: Edge) -> None:
    for replica in edge.replicas["payment"]:
        replica.answers["GetWallet"] = unavailable
    async with client.connect(edge.target) as channel:
        refused = await failure(channel, READ, b"", edge.bearer())
    assert refused.code() is grpc.StatusCode.UNAVAILABLE
    assert len(edge.received("payment")) == 4
    assert NO_CLIENT_RETRY in tuple(refused.trailing_metadata() or ())
    async with plain_http(edge.url, headers=edge.bearer()) as http:
        answer = await http.get("/v1/wallet")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert NO_CLIENT_RETRY[0] not in answer.headers


@pytest.mark.parametrize("away", ["answers unavailable", "is not there"])
async def test_an_enrolment_without_payment_makes_four_calls_at_most(away: str) -> None:
    """Were every part to try three times more, there would be 256: client, edge, channel and mesh."""
    holds: list[str] = []

    async def hold(_call: Received, _context: Any) -> bytes:
        holds.append("asked")
        raise DependencyUnavailable(retry_after_seconds=1)

    async with running_edge(guarded=True, replicas={"education": 2}) as edge:
        (payment,) = edge.replicas["payment"]
        payment.answers["CreateHold"] = hold
        for replica in edge.replicas["education"]:
            replica.answers["Enroll"] = enroll(edge)
        if away == "is not there":
            await edge.stop(payment)
        request = enrollment_service_pb2.EnrollRequest(course_id=new_id())
        async with client.connect(edge.target) as channel:
            stub = enrollment_service_pb2_grpc.EnrollmentServiceStub(channel)
            with pytest.raises(aio.AioRpcError) as refused:
                await stub.Enroll(request, metadata=tuple(edge.bearer().items()))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert client.error_reason(refused.value) == "DEPENDENCY_UNAVAILABLE"
        assert len(edge.received("education")) == 1
        assert len(holds) == (4 if away == "answers unavailable" else 0)
        async with plain_http(edge.url, headers=edge.bearer()) as http:
            answer = await http.post(f"/v1/courses/{new_id()}/enroll", json={})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert error_info(answer.json())["reason"] == "DEPENDENCY_UNAVAILABLE"
        assert NO_CLIENT_RETRY[0] not in answer.headers


def enroll(edge: Edge) -> Any:
    """Return how Education enrols: by a call to Payment over the mesh."""

    async def answer(_call: Received, _context: Any) -> bytes:
        async with connect_to_mesh(settings_of(edge, "education"), [OutgoingCalls()]) as channel:
            await PaymentClient(channel).hold(
                key=new_id(),
                user_id=new_id(),
                amount=Money(1),
                description="",
                course_id=new_id(),
                lifetime=timedelta(minutes=1),
            )
        return b""

    return answer


def dies_with(replica: Replica) -> Any:
    """Return an answer that never comes: the replica ends meanwhile."""

    async def answer(_call: Received, _context: Any) -> bytes:
        ending = asyncio.create_task(replica.server.stop(None))
        await asyncio.Event().wait()
        return bytes(await ending)

    return answer


def settings_of(edge: Edge, service: str) -> ServiceSettings:
    """Return the settings of a service that calls others over an edge's mesh."""
    return ServiceSettings(
        listen="unix:/nowhere",
        database_url=SecretStr("postgresql://"),
        secret_key=SecretStr(base64.b64encode(os.urandom(32)).decode()),
        mesh_target=f"unix:{edge.folder}/mesh.sock",
        tls_certificate=edge.folder / f"pki/{service}.crt",
        tls_key=edge.folder / f"pki/{service}.key",
        tls_authority=edge.folder / "pki/ca.crt",
    )
