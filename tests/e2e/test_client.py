"""azora.client through the whole system: typed errors of every service and of Envoy, and what its README shows."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import pytest
from azora import client
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from azora.client import blocking
from azora.education.v1 import course_service_pb2, course_service_pb2_grpc
from azora.payment.v1 import payment_service_pb2, payment_service_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.shared.ids import new_id

if TYPE_CHECKING:
    from tests.support.system import LocalSystem

README = (Path(__file__).parents[2] / "generated/README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
STUDENT = auth_service_pb2.LoginRequest(email="student@azora.world", password="Student@2024!")


class Refused(NamedTuple):
    """A call that is refused, and how."""

    stub: Any
    method: str
    request: Any
    code: grpc.StatusCode
    reason: str
    signed_in: bool = True


REFUSED = [
    Refused(
        auth_service_pb2_grpc.AuthServiceStub,
        "Login",
        auth_service_pb2.LoginRequest(email=STUDENT.email, password="wrong-Password-1"),
        grpc.StatusCode.UNAUTHENTICATED,
        "CREDENTIALS_INVALID",
        signed_in=False,
    ),
    Refused(
        course_service_pb2_grpc.CourseServiceStub,
        "GetCourse",
        course_service_pb2.GetCourseRequest(course_id=new_id()),
        grpc.StatusCode.NOT_FOUND,
        "COURSE_NOT_FOUND",
    ),
    Refused(
        payment_service_pb2_grpc.PaymentServiceStub,
        "GetPayment",
        payment_service_pb2.GetPaymentRequest(payment_id=new_id()),
        grpc.StatusCode.NOT_FOUND,
        "PAYMENT_NOT_FOUND",
    ),
    Refused(
        payment_service_pb2_grpc.PaymentServiceStub,
        "CreatePayment",
        payment_service_pb2.CreatePaymentRequest(),
        grpc.StatusCode.INVALID_ARGUMENT,
        "VALIDATION_FAILED",
    ),
    Refused(
        payment_service_pb2_grpc.PaymentServiceStub,
        "GetPayment",
        payment_service_pb2.GetPaymentRequest(),
        grpc.StatusCode.UNAUTHENTICATED,
        "TOKEN_MISSING",
        signed_in=False,
    ),
    Refused(
        health_pb2_grpc.HealthStub,
        "Check",
        health_pb2.HealthCheckRequest(service="nobody.v1.Service"),
        grpc.StatusCode.NOT_FOUND,
        "SERVICE_UNKNOWN",
    ),
]


@pytest.fixture(scope="module")
def token(system: LocalSystem) -> str:
    with blocking.connect(system.target) as channel:
        return auth_service_pb2_grpc.AuthServiceStub(channel).Login(STUDENT).access_token


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: refused.reason)
async def test_every_part_refuses_with_a_typed_error(system: LocalSystem, token: str, refused: Refused) -> None:
    metadata = client.bearer(token) if refused.signed_in else ()

    def block() -> None:
        with blocking.connect(system.target) as channel:
            getattr(refused.stub(channel), refused.method)(refused.request, metadata=metadata)

    async with client.connect(system.target) as channel:
        with pytest.raises(client.CallError) as caught:
            await getattr(refused.stub(channel), refused.method)(refused.request, metadata=metadata)
    with pytest.raises(blocking.CallError) as blocking_caught:
        await asyncio.to_thread(block)
    for error in (caught.value, blocking_caught.value):
        assert (error.code(), error.reason) == (refused.code, refused.reason), error
        assert bool(error.violations) is (refused.reason == "VALIDATION_FAILED")


async def test_envoy_refuses_with_a_typed_error(system: LocalSystem) -> None:
    async with client.connect(system.target) as channel:
        unknown: Any = channel.unary_unary("/azora.payment.v1.PaymentService/Nothing")
        with pytest.raises(client.CallError) as caught:
            await unknown(b"")
        assert (caught.value.code(), caught.value.reason) == (grpc.StatusCode.UNIMPLEMENTED, "ROUTE_NOT_FOUND")
        stub = payment_service_pb2_grpc.PaymentServiceStub(channel)
        with pytest.raises(client.CallError) as caught:
            await stub.GetPayment(payment_service_pb2.GetPaymentRequest(), metadata=client.bearer("not.a.token"))
        assert (caught.value.code(), caught.value.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


@pytest.mark.parametrize(("number", "printed"), [(0, 'currency: "AZR"'), (1, "Python Programming Basics")])
def test_the_calls_of_the_readme_work(system: LocalSystem, number: int, printed: str) -> None:
    source = BLOCKS[number].replace("localhost:8080", system.target)
    done = subprocess.run(  # noqa: S603 - our own README
        [sys.executable, "-W", "error", "-c", source], check=False, capture_output=True, text=True, timeout=30
    )
    assert printed in done.stdout, done.stderr


def test_the_error_of_the_readme_is_met(system: LocalSystem, token: str) -> None:
    names: dict[str, Any] = {}
    exec(BLOCKS[2], names)  # noqa: S102 - our own README
    with blocking.connect(system.target) as channel:
        assert names["donate"](channel, token, 10**12) == "not enough AZR"
        assert names["donate"](channel, token, 1)


def test_the_readme_names_what_there_is() -> None:
    for block in BLOCKS:
        compile(block, "README.md", "exec", flags=0x2000)  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    for name in re.findall(r"(?<!azora\.)\bclient\.(\w+)", README):
        assert hasattr(client, name), name
        assert hasattr(blocking, name), name
