"""What `test_replicas.py` tests one by one, together and in half a minute; and that nothing gets around Envoy.

All of it runs on one started system: two replicas of each service, over TCP, with certificates of 18 seconds.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from azora import client
from azora.payment.v1 import payment_service_pb2, payment_service_pb2_grpc
from grpc import aio

from services.deployment import pki
from tests.support.certificates import issue
from tests.support.hurt import go_on, outlast_certificates, renewals, say, survived
from tests.support.services import SERVICES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.checked_load import CheckedLoad
    from tests.support.steady import SteadyLoad
    from tests.support.system import LocalSystem

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]
UNREACHABLE, DENIED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED


OPEN = {
    "auth": "/azora.auth.v1.TokenService/GetJwks",
    "education": "/azora.education.v1.CourseService/ListCourses",
    "payment": "/azora.payment.v1.LedgerService/ListCheckpointKeys",
}
"""A method of each service that is open to anyone."""


async def status(
    target: str, identity: client.MeshIdentity | None, name: str = "localhost", path: str = OPEN["auth"]
) -> grpc.StatusCode:
    """Return how a call ends that is made with this identity and no retries."""
    channel = (
        client.connect(target, identity=identity, server_name=name, retries=False)
        if identity
        else aio.insecure_channel(target)
    )
    async with channel:
        method: Any = channel.unary_unary(path)
        call = method(b"", timeout=5)
        code: grpc.StatusCode = await call.code()
        return code


@pytest.mark.parametrize("service", SERVICES)
async def test_nobody_but_envoy_calls_a_service(replicated: LocalSystem, service: str, tmp_path: Path) -> None:
    for process in (service, f"{service}-1"):
        target = replicated.address(process)
        assert await status(target, None) is UNREACHABLE
        pki.ensure_pki(tmp_path / "stranger")
        assert await status(target, replicated.identity("envoy", tmp_path / "stranger")) is UNREACHABLE
        assert await status(target, expired(replicated, "envoy", tmp_path)) is UNREACHABLE
        for caller in ("education", "payment", "gateway"):
            assert await status(target, replicated.identity(caller), path=OPEN[service]) is DENIED
        assert await status(target, replicated.identity("envoy"), path=OPEN[service]) is grpc.StatusCode.OK


async def test_the_internal_listener_knows_its_callers(replicated: LocalSystem, tmp_path: Path) -> None:
    assert await status(replicated.mesh, None) is UNREACHABLE
    pki.ensure_pki(tmp_path / "stranger")
    assert await status(replicated.mesh, replicated.identity("payment", tmp_path / "stranger"), "envoy") is UNREACHABLE
    assert await status(replicated.mesh, expired(replicated, "payment", tmp_path), "envoy") is UNREACHABLE
    assert await status(replicated.mesh, replicated.identity("payment"), "envoy") is grpc.StatusCode.OK
    async with client.connect(replicated.mesh, identity=replicated.identity("auth"), retries=False) as channel:
        stub: Any = payment_service_pb2_grpc.PaymentServiceStub(channel)
        call = stub.Earn(payment_service_pb2.EarnRequest(), timeout=5)
        assert await call.code() is DENIED, "Education alone rewards learners"


def expired(system: LocalSystem, name: str, folder: Path) -> client.MeshIdentity:
    """Return an identity from the system's own authority whose certificate has expired."""
    return issue(system.home / "pki", folder, name, life_seconds=-1)


async def test_no_call_fails_while_replicas_end_and_certificates_are_renewed(
    replicated: LocalSystem, load: SteadyLoad, rate: int, pytestconfig: pytest.Config
) -> None:
    async with load.running(rate) as outcomes:
        await go_on(2)
        await replicated.end_process("payment-1", signal.SIGTERM)
        await replicated.end_process("education", signal.SIGKILL)
        await renewals(replicated, 1)
        await outlast_certificates(outcomes)
    say(pytestconfig, f"terminated, killed, renewed: {outcomes}")
    assert outcomes.failed == []


async def test_the_services_resume_by_themselves_when_postgres_was_killed(
    replicated: LocalSystem, checked: CheckedLoad, rate: int, pytestconfig: pytest.Config
) -> None:
    async with survived(checked, rate, "PostgreSQL killed", pytestconfig):
        await replicated.end_process("postgres", signal.SIGKILL)
