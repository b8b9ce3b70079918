"""Health follows the work behind a server: what keeps crashing is not SERVING."""

from __future__ import annotations

import asyncio
import gc
import socket
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from azora.education.v1 import course_service_pb2, course_service_pb2_grpc
from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from interceptors import chain
from interceptors.rate_limit import Limiter
from services.shared import background, server
from services.shared.policy import METRICS
from services.shared.server import CannotListenError, EndedError, Health, Registration, Server
from services.shared.settings import Environment, ServerSettings
from tests.support import http2
from tests.support.ports import free_port
from tests.support.serving import Signer, channel_to, serving, short_folder
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from services.shared.policy import MethodPolicy

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
TASKS_OF_A_SERVER = 5
"""gRPC's own and the server's background work, whatever the number of methods."""


async def _crash() -> None:
    raise KeyError("unforeseen")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "backoff_seconds", lambda *_, **__: 0.01)
    monkeypatch.setattr(server, "READINESS_SECONDS", 0.05)


@pytest.mark.parametrize("crashing", ["worker", "readiness"])
async def test_what_keeps_crashing_is_not_serving(crashing: str, caplog: pytest.LogCaptureFixture) -> None:
    """Background work ended with an unforeseen exception: health said SERVING for good, and nothing was logged."""
    signer, limiter = Signer(), Limiter(scale=1)
    asked = 0

    def guard(policies: Mapping[str, MethodPolicy]) -> aio.ServerInterceptor:
        return chain(policies, verifier=signer.verifier(), limiter=limiter)

    async def ready() -> bool:
        nonlocal asked
        asked += 1
        if crashing == "readiness" and asked > 1:
            raise KeyError("unforeseen")
        return True

    async with short_folder() as folder:
        settings = ServerSettings(listen=f"unix:{folder}/s", env=Environment.DEVELOPMENT, drain_seconds=0)
        work = [_crash] if crashing == "worker" else []
        running = Server(settings, guard, [], ready, background=work, close=[limiter.close])
        await running.start()
        try:
            async with channel_to(settings.listen) as channel:
                stub: Any = health_pb2_grpc.HealthStub(channel)

                async def lost() -> bool:
                    return bool((await stub.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING)

                await eventually(lost)
        finally:
            await running.stop()
    crashes = [record for record in caplog.records if record.message.startswith("background task crashed")]
    assert crashes
    assert all(record.exc_info for record in crashes)


class Recorder(Health):
    """Remembers what was published of the whole server."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[Any] = []

    async def set(self, service: str, status: Any) -> None:
        if not service:
            self.published.append(status)
        await super().set(service, status)


async def test_one_check_that_fails_is_no_failure_and_one_that_succeeds_is_the_end_of_it() -> None:
    signer, limiter, health = Signer(), Limiter(scale=1), Recorder()
    answers = [False, True, False, False, True, False, False, False, False, True]

    async def ready() -> bool:
        return answers[len(health.published)] if len(health.published) < len(answers) else True

    async def asked() -> bool:
        return len(health.published) >= len(answers)

    async with short_folder() as folder:
        settings = ServerSettings(listen=f"unix:{folder}/s", env=Environment.DEVELOPMENT, drain_seconds=0)
        running = Server(
            settings,
            partial(chain, verifier=signer.verifier(), limiter=limiter),
            [],
            ready,
            close=[limiter.close],
            health=health,
        )
        await running.start()
        await eventually(asked)
        await running.stop()
    expected = [False, True, True, True, True, True, True, False, False, True]
    assert [status == SERVING for status in health.published[: len(answers)]] == expected


class Courses(course_service_pb2_grpc.CourseServiceServicer):
    """Answers after it was told to."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.may_end = asyncio.Event()

    async def ListCourses(self, _request: Any, _context: Any) -> Any:
        """Wait, and answer."""
        self.entered.set()
        await self.may_end.wait()
        return course_service_pb2.ListCoursesResponse()


async def list_courses(channel: aio.Channel) -> course_service_pb2.ListCoursesResponse:
    stub = course_service_pb2_grpc.CourseServiceStub(channel)
    return await stub.ListCourses(course_service_pb2.ListCoursesRequest())


@asynccontextmanager
async def listing(courses: Courses, **settings: Any) -> AsyncIterator[tuple[Server, Any, Any]]:
    """Run a server with a call in flight; give it, a channel to it, and the call."""
    signer, limiter = Signer(), Limiter(scale=1)
    async with short_folder() as folder:
        values = ServerSettings(listen=f"unix:{folder}/s", env=Environment.DEVELOPMENT, **settings)
        running = Server(
            values,
            partial(chain, verifier=signer.verifier(), limiter=limiter),
            [Registration.of(courses)],
            _yes,
            close=[limiter.close],
        )
        await running.start()
        async with channel_to(values.listen) as channel:
            in_flight = asyncio.create_task(list_courses(channel))
            await courses.entered.wait()
            yield running, channel, in_flight


async def test_a_server_that_stops_is_not_serving_first_and_then_finishes_its_calls() -> None:
    courses = Courses()
    async with (
        listing(courses, drain_seconds=0.5, grace_seconds=10) as (running, channel, in_flight),
        # gRPC closes a connection with its last call. A client that then still writes, of another call, reads no more.
        channel_to(running.settings.listen) as other,
    ):
        await other.channel_ready()
        health: Any = health_pb2_grpc.HealthStub(channel)
        stopping = asyncio.create_task(running.stop())

        async def told() -> bool:
            return bool((await health.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING)

        await eventually(told, within_seconds=0.4)
        late = asyncio.create_task(list_courses(other))
        await asyncio.wait([stopping], timeout=0.7)  # The mesh has noticed by then: no call comes any more.
        assert not stopping.done()
        assert not in_flight.done()
        courses.may_end.set()
        assert await in_flight == await late == course_service_pb2.ListCoursesResponse()
        await asyncio.wait_for(stopping, 2)


async def test_a_call_that_outlasts_the_grace_is_cut() -> None:
    async with listing(Courses(), drain_seconds=0, grace_seconds=0.3) as (running, _, in_flight):
        await asyncio.wait_for(running.stop(), 1.5)
        with pytest.raises(aio.AioRpcError) as cut:
            await in_flight
    assert cut.value.code() in (StatusCode.UNAVAILABLE, StatusCode.CANCELLED)


async def test_probes_are_answered_without_tls_and_nothing_else_is() -> None:
    """Alive is a process that answers; ready is one that can work."""
    signer, limiter, works = Signer(), Limiter(scale=1), True

    async def ready() -> bool:
        return works

    async with short_folder() as folder:
        probes = f"127.0.0.1:{free_port()}"
        settings = ServerSettings(
            listen=f"unix:{folder}/s", health_listen=probes, env=Environment.DEVELOPMENT, drain_seconds=0
        )
        chained = partial(chain, verifier=signer.verifier(), limiter=limiter)
        running = Server(settings, chained, [], ready, close=[limiter.close], metrics=_no_metrics, max_misses=1)
        await running.start()
        try:
            async with channel_to(probes) as channel:
                stub: Any = health_pb2_grpc.HealthStub(channel)

                async def probed(service: str) -> Any:
                    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status

                async def is_not_ready() -> bool:
                    return bool(await probed("") == NOT_SERVING)

                assert await probed("") == SERVING
                works = False
                await eventually(is_not_ready)
                assert await probed("grpc.health.v1.Health") == SERVING
                with pytest.raises(aio.AioRpcError) as refused:
                    await channel.unary_unary(METRICS)(b"")  # type: ignore[arg-type]
                assert refused.value.code() == StatusCode.UNIMPLEMENTED
        finally:
            await running.stop()


async def test_a_taken_address_of_probes_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with short_folder() as folder:
            settings = ServerSettings(listen=f"unix:{folder}/s", health_listen=address, env=Environment.DEVELOPMENT)
            with pytest.raises(CannotListenError, match=address):
                await Server(
                    settings, partial(chain, verifier=Signer().verifier(), limiter=Limiter()), [], _yes
                ).start()


@pytest.mark.parametrize("struck", ["service", "probes"])
async def test_a_process_whose_server_has_ended_ends(struck: str) -> None:
    """A path that is no UTF-8 has gRPC end the server."""
    async with short_folder() as folder:
        port = free_port()
        settings = ServerSettings(
            listen=f"unix:{folder}/s",
            health_listen=f"127.0.0.1:{port}",
            env=Environment.DEVELOPMENT,
            drain_seconds=0,
            grace_seconds=0.2,
        )
        served = Server(settings, partial(chain, verifier=Signer().verifier(), limiter=Limiter()), [], _yes)
        running = asyncio.create_task(served.run())
        async with channel_to(settings.listen) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        if struck == "service":
            _, writer = await asyncio.open_unix_connection(f"{folder}/s")
        else:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        headers = {":method": "POST", ":scheme": "http", ":path": "/p", "te": "trailers"}
        headers |= {":authority": "a", "content-type": "application/grpc"}
        flags = http2.END_HEADERS | http2.END_STREAM
        request = http2.frame(http2.HEADERS, flags, 1, http2.block(headers).replace(b"/p", b"/\xff"))
        writer.write(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0, b"") + request)
        with pytest.raises(EndedError):
            await asyncio.wait_for(running, 5)
        writer.close()
        await writer.wait_closed()
        await served.stop()


async def _no_metrics() -> bytes:
    return b""


async def _yes() -> bool:
    return True


async def test_what_is_there_from_the_start_is_not_searched_for_garbage() -> None:
    """A full collection stopped all calls of a service for a tenth of a second."""
    frozen = 0

    class Running:
        async def run(self) -> None:
            nonlocal frozen
            frozen = gc.get_freeze_count()

    def build(_: Any) -> Any:
        return Running()

    try:
        await server._serve(build, ServerSettings(listen="unix:s", env=Environment.DEVELOPMENT))
    finally:
        gc.unfreeze()
    assert frozen


@pytest.mark.parametrize("services", [[], [course_service_pb2_grpc.CourseServiceServicer()]], ids=["none", "many"])
async def test_no_task_waits_for_each_method(services: list[Any]) -> None:
    """Each call would wake all of them, and take twice as long."""
    before = len(asyncio.all_tasks())
    async with serving([Registration.of(servicer) for servicer in services], Signer()):
        assert len(asyncio.all_tasks()) - before <= TASKS_OF_A_SERVER
