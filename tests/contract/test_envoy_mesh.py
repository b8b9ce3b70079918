"""The internal listener of the real Envoy: who is let in, whom the service sees, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from azora.client import MeshIdentity, connect, error_reason
from grpc import aio

from services.deployment.pki import ensure_pki
from tests.support.edge import failure

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.support.edge import Edge

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("http")]

EARN = "/azora.payment.v1.PaymentService/Earn"
CLOSE = "/azora.education.v1.InternalService/CloseEnrollment"
RECEIVE = "/azora.education.v1.InternalService/ReceiveEvents"
KEYS = "/azora.auth.v1.TokenService/GetJwks"
CREATE = "/azora.education.v1.CourseService/CreateCourse"


def mesh(edge: Edge, name: str, *, pki: Path | None = None) -> aio.Channel:
    """Return a channel to the mesh with the identity of a service."""
    folder = pki or edge.folder / "pki"
    authority = edge.folder / "pki/ca.crt"
    identity = MeshIdentity(folder / f"{name}.crt", folder / f"{name}.key", authority)
    return connect(f"unix:{edge.folder}/mesh.sock", identity=identity)


async def call(channel: aio.Channel, path: str, *headers: tuple[str, str]) -> bytes:
    return bytes(await channel.unary_unary(path)(b"", metadata=headers))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "path", "service"),
    [
        ("education", EARN, "payment"),
        ("payment", CLOSE, "education"),
        ("payment", RECEIVE, "education"),
        ("payment", KEYS, "auth"),
    ],
)
async def test_a_service_reaches_what_its_policies_open_to_it(edge: Edge, name: str, path: str, service: str) -> None:
    async with mesh(edge, name) as channel:
        await call(channel, path, ("x-forwarded-client-cert", "URI=spiffe://azora.local/ns/default/sa/auth"))
    arrived = next(call for replica in edge.replicas[service] for call in replica.received if call.path == path)
    assert arrived.headers["x-forwarded-client-cert"].endswith(f"URI=spiffe://azora.local/ns/default/sa/{name}")


@pytest.mark.parametrize(
    ("name", "path"),
    [("payment", EARN), ("auth", CLOSE), ("education", RECEIVE), ("education", CREATE), ("auth", "/nobody.Any/None")],
)
async def test_a_service_reaches_nothing_else(edge: Edge, name: str, path: str) -> None:
    async with mesh(edge, name) as channel:
        refused = await failure(channel, path, b"", {})
    assert refused.code() is grpc.StatusCode.PERMISSION_DENIED
    assert error_reason(refused) == "ACCESS_DENIED"
    assert not any(edge.received(service) for service in edge.replicas)


async def test_a_stranger_is_not_let_in(edge: Edge, tmp_path: Path) -> None:
    ensure_pki(tmp_path)  # Another authority's.
    async with mesh(edge, "education", pki=tmp_path) as channel:
        assert (await failure(channel, EARN, b"", {})).code() is grpc.StatusCode.UNAVAILABLE
    async with aio.insecure_channel(f"unix:{edge.folder}/mesh.sock") as channel:
        assert (await failure(channel, EARN, b"", {})).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_call_made_for_another_keeps_its_request_id(edge: Edge, http: httpx.AsyncClient) -> None:
    assert http
    async with mesh(edge, "education") as channel:
        await call(channel, EARN, ("x-request-id", "the-first-call"), ("idempotency-key", "k"))
    (arrived,) = edge.received("payment")
    assert arrived.headers["x-request-id"] == "the-first-call"
    assert arrived.headers["idempotency-key"] == "k"
