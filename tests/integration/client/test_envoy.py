"""azora.client before the real Envoy: certificates that expire, TLS at the edge, an Envoy that goes and returns."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import pytest_asyncio
from azora import client
from azora.client._dialing import MAX_BACKOFF_MILLISECONDS
from azora.education.v1 import course_service_pb2, course_service_pb2_grpc
from azora.payment.v1 import payment_service_pb2, payment_service_pb2_grpc

from services.compiler.envoy import Certificate, Pipe, Tcp
from services.deployment.pki import ensure_pki
from tests.support.certificates import expired, issue
from tests.support.edge import running_edge, running_envoy
from tests.support.ports import accepts, free_port
from tests.support.serving import short_folder
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from grpc import aio

    from services.compiler.envoy import Profile
    from tests.support.edge import Edge

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIFE_SECONDS = 4.0
BACK_SECONDS = 1.2 * MAX_BACKOFF_MILLISECONDS / 1000 + 0.5
"""The longest delay before an attempt to connect, and the attempt."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge() -> AsyncIterator[Edge]:
    async with running_edge() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def second(edge: Edge) -> AsyncIterator[tuple[Profile, Path]]:
    """Give the profile of another Envoy before the same services, and a folder for it."""
    async with short_folder() as folder:
        mesh = Pipe(f"{folder}/mesh.sock")
        yield replace(edge.profile, public=Tcp("127.0.0.1", free_port()), mesh=mesh, runtime=str(folder)), folder


def target(profile: Profile) -> str:
    return f"127.0.0.1:{profile.public.port}"


async def earn(channel: aio.Channel) -> None:
    await payment_service_pb2_grpc.PaymentServiceStub(channel).Earn(payment_service_pb2.EarnRequest())


async def list_courses(channel: aio.Channel) -> None:
    await course_service_pb2_grpc.CourseServiceStub(channel).ListCourses(course_service_pb2.ListCoursesRequest())


def succeeds(call: Callable[[aio.Channel], Awaitable[None]], channel: aio.Channel) -> Callable[[], Awaitable[bool]]:
    async def attempt() -> bool:
        try:
            await call(channel)
        except client.CallError:
            return False
        return True

    return attempt


async def test_no_call_fails_when_a_certificate_is_renewed_and_expires(edge: Edge, tmp_path: Path) -> None:
    pki = edge.folder / "pki"
    identity = issue(pki, tmp_path, "education", life_seconds=LIFE_SECONDS)
    former = tmp_path / "former.crt"
    former.write_bytes(identity.certificate.read_bytes())
    renew_at = time.monotonic() + LIFE_SECONDS / 4
    async with client.connect(f"unix:{edge.folder}/mesh.sock", identity=identity) as channel:

        async def until(moment: float) -> bool:
            await earn(channel)
            return time.monotonic() > moment

        await eventually(lambda: until(renew_at))
        issue(pki, tmp_path, "education")

        async def former_expired() -> bool:
            await earn(channel)
            return expired(former)

        await eventually(former_expired)
        await earn(channel)
    seen = [call.headers["x-forwarded-client-cert"] for call in edge.received("payment")]
    assert len(set(seen)) == 2, "one certificate after the other"


async def test_an_expired_certificate_is_refused(edge: Edge, tmp_path: Path) -> None:
    identity = issue(edge.folder / "pki", tmp_path, "education", life_seconds=-1)
    async with client.connect(f"unix:{edge.folder}/mesh.sock", identity=identity) as channel:
        with pytest.raises(client.CallError) as caught:
            await earn(channel)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_an_envoy_that_returns_is_found_within_the_bound(edge: Edge, second: tuple[Profile, Path]) -> None:
    profile, folder = second
    async with client.connect(target(profile)) as channel:
        called = succeeds(list_courses, channel)
        async with running_envoy(profile, folder):
            await eventually(called)
        with pytest.raises(client.CallError) as caught:
            await list_courses(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        async with running_envoy(profile, folder):
            await eventually(lambda: accepts(profile.public.port))
            async with asyncio.timeout(BACK_SECONDS):
                await channel.channel_ready()
            await eventually(called)  # Envoy listens before it has seen that Education is healthy.


async def test_one_of_two_envoys_may_go(edge: Edge, second: tuple[Profile, Path]) -> None:
    profile, folder = second
    async with client.connect([edge.target, target(profile)]) as channel:
        async with running_envoy(profile, folder):
            async with client.connect(target(profile)) as alone:
                await eventually(succeeds(list_courses, alone))
            for _ in range(10):
                await list_courses(channel)
        for _ in range(10):
            await list_courses(channel)


@pytest.mark.parametrize("name", ["localhost:{}", "dns:///localhost:{}"])
async def test_tls_of_the_public_port_is_verified(
    edge: Edge, second: tuple[Profile, Path], tmp_path: Path, name: str
) -> None:
    pki, (profile, folder) = edge.folder / "pki", second
    profile = replace(profile, public_certificate=Certificate(f"{pki}/envoy.crt", f"{pki}/envoy.key"))
    ensure_pki(tmp_path, ["envoy"])
    where = name.format(profile.public.port)
    refused: list[dict[str, Any]] = [{"authority": tmp_path / "ca.crt"}, {"tls": True}, {}]
    async with running_envoy(profile, folder):
        async with client.connect(where, authority=pki / "ca.crt") as channel:
            await eventually(succeeds(list_courses, channel))
        for options in refused:
            async with client.connect(where, **options) as channel:
                assert not await succeeds(list_courses, channel)()
