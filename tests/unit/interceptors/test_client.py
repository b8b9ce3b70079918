"""Calls of one service to another: what goes along, and what comes back when they fail."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from azora.client import connect, error_info
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio

from interceptors.client import OutgoingCalls
from interceptors.errors import to_status
from services.shared.errors import (
    Aborted,
    AccessDenied,
    AlreadyExists,
    DeadlinePassed,
    DependencyUnavailable,
    DomainError,
    FailedPrecondition,
    InternalError,
    NotFound,
    Overloaded,
    Refused,
    ValidationFailed,
)
from services.shared.principal import Request, serve_request
from tests.support.serving import short_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"


class Called(grpc.GenericRpcHandler):
    """Answers by refusing as it is told; keeps the headers and the time that it was given."""

    def __init__(self, refusal: DomainError | None = None) -> None:
        self.refusal = refusal
        self.headers: dict[str, str | bytes] = {}
        self.seconds = 0.0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def handle(request: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes:
            self.headers = dict(context.invocation_metadata() or ())
            self.seconds = context.time_remaining() or 0.0
            if self.refusal is not None:
                status = to_status(self.refusal)
                code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
                details = (("grpc-status-details-bin", status.SerializeToString()),)
                await context.abort(code, status.message, details)
            return request

        return grpc.unary_unary_rpc_method_handler(handle)


@asynccontextmanager
async def calling(called: Called, **options: Any) -> AsyncIterator[Any]:
    server = aio.server()
    server.add_generic_rpc_handlers((called,))
    async with short_folder() as folder:
        server.add_insecure_port(f"unix:{folder}/s")
        await server.start()
        async with connect(f"unix:{folder}/s", interceptors=[OutgoingCalls(**options)]) as channel:
            yield channel.unary_unary("/azora.test.v1.Test/Call", StringValue.SerializeToString, StringValue.FromString)
        await server.stop(None)


async def test_a_call_carries_the_ids_of_the_one_being_served_and_ends_before_it() -> None:
    called, deadline = Called(), asyncio.get_running_loop().time() + 2
    async with calling(called) as call:
        serve_request(Request(id="edge-1", traceparent=TRACEPARENT, deadline=deadline))
        assert (await call(StringValue(value="x"), metadata=(("a", "b"),))).value == "x"
    assert (called.headers["traceparent"], called.headers["x-request-id"]) == (TRACEPARENT, "edge-1")
    assert called.headers["a"] == "b"
    assert 1 < called.seconds < 2.5


async def test_outside_of_a_call_the_bound_holds_and_a_caller_may_ask_for_less() -> None:
    called = Called()
    async with calling(called, max_seconds=3) as call:
        await call(StringValue())
        assert 2 < called.seconds < 3.5
        await call(StringValue(), timeout=1)
        assert 0 < called.seconds < 1.5
        await call(StringValue(), timeout=60)
        assert 2 < called.seconds < 3.5
    assert "traceparent" not in called.headers


async def test_without_time_left_nothing_is_called() -> None:
    called = Called()
    async with calling(called) as call:
        serve_request(Request(id="r", traceparent=TRACEPARENT, deadline=asyncio.get_running_loop().time() - 1))
        with pytest.raises(DeadlinePassed):
            await call(StringValue())
    assert called.headers == {}


@pytest.mark.parametrize("kind", [ValidationFailed, NotFound, AlreadyExists, FailedPrecondition, AccessDenied])
async def test_a_verdict_is_refused_with_its_reason(kind: type[DomainError]) -> None:
    async with calling(Called(kind(metadata={"courseId": "c"}))) as call:
        with pytest.raises(Refused) as caught:
            await call(StringValue())
    assert (caught.value.reason, caught.value.metadata) == (kind.reason, {"courseId": "c"})
    assert isinstance(caught.value.__cause__, aio.AioRpcError)
    assert caught.value.code == caught.value.__cause__.code().name


@pytest.mark.parametrize(
    "error", [InternalError(request_id="r"), Aborted(), DependencyUnavailable()], ids=lambda error: error.reason
)
async def test_whatever_leaves_open_what_happened_is_a_dependency_that_is_unavailable(error: DomainError) -> None:
    async with calling(Called(error)) as call:
        with pytest.raises(DependencyUnavailable):
            await call(StringValue())


async def test_a_service_that_is_not_there_is_unavailable() -> None:
    async with connect("unix:/tmp/azora-nobody", interceptors=[OutgoingCalls()]) as channel:
        with pytest.raises(DependencyUnavailable):
            await channel.unary_unary("/azora.test.v1.Test/Call", StringValue.SerializeToString)(StringValue())


async def test_cancelling_the_caller_cancels_the_call() -> None:
    async def block(_request: bytes, _context: Any) -> bytes:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    class Blocking(Called):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
            return grpc.unary_unary_rpc_method_handler(block)

    begun, ended = asyncio.Event(), asyncio.Event()
    async with calling(Blocking()) as call:
        caller = asyncio.create_task(_call(call))
        await begun.wait()
        caller.cancel()
        async with asyncio.timeout(2):
            await ended.wait()


async def _call(call: Any) -> None:
    await call(StringValue())


def test_a_failure_without_details_has_an_empty_error_info() -> None:
    for trailers in (aio.Metadata(), aio.Metadata(("grpc-status-details-bin", b"\xff\xff"))):
        error = aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, aio.Metadata(), trailers)
        assert error_info(error).reason == ""


async def test_of_a_method_that_keeps_failing_the_first_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    called = Called()
    async with calling(called) as call:
        busy = Overloaded(retry_after_seconds=1)
        for refusal in (busy, busy, NotFound(), busy, None, busy):
            called.refusal = refusal
            with suppress(DependencyUnavailable, Refused):
                await call(StringValue())
    logged = [record for record in caplog.records if record.name == "interceptors.client"]
    assert [record.__dict__["status"] for record in logged] == ["RESOURCE_EXHAUSTED"] * 3, (
        "again after each answer in between"
    )
