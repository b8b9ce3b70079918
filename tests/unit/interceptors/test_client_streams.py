"""Streams of responses from one service to another: what goes along, and what comes back when they fail."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from azora.client import connect
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio
from opentelemetry.trace import StatusCode

from interceptors.client import OutgoingStreams
from interceptors.errors import to_status
from services.shared.errors import DeadlinePassed, DependencyUnavailable, DomainError, InternalError, NotFound, Refused
from services.shared.principal import Request, serve_request
from tests.support.serving import short_folder
from tests.support.spans import Recording

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TRACE = "a" * 32
TRACEPARENT = f"00-{TRACE}-{'b' * 16}-01"
METHOD = "azora.test.v1.Test/Watch"


class Called(grpc.GenericRpcHandler):
    """Answers with two messages, then refuses if it is told to; keeps the headers and the time that it was given."""

    def __init__(self, refusal: DomainError | None = None) -> None:
        self.refusal = refusal
        self.headers: dict[str, str | bytes] = {}
        self.seconds = 0.0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def handle(request: bytes, context: aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
            self.headers = dict(context.invocation_metadata() or ())
            self.seconds = context.time_remaining() or 0.0
            yield request
            yield request
            if self.refusal is not None:
                status = to_status(self.refusal)
                code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
                details = (("grpc-status-details-bin", status.SerializeToString()),)
                await context.abort(code, status.message, details)

        return grpc.unary_stream_rpc_method_handler(handle)


@asynccontextmanager
async def calling(called: Called, **options: Any) -> AsyncIterator[Any]:
    server = aio.server()
    server.add_generic_rpc_handlers((called,))
    async with short_folder() as folder:
        server.add_insecure_port(f"unix:{folder}/s")
        await server.start()
        async with connect(f"unix:{folder}/s", interceptors=[OutgoingStreams(**options)]) as channel:
            yield channel.unary_stream(f"/{METHOD}", StringValue.SerializeToString, StringValue.FromString)
        await server.stop(None)


async def read(stream: Any, into: list[str]) -> None:
    async for message in stream:
        into += [message.value]


async def test_a_stream_carries_the_ids_of_the_call_being_served_and_ends_before_it() -> None:
    called, received = Called(), list[str]()
    async with calling(called) as call:
        serve_request(Request(id="edge-1", traceparent=TRACEPARENT, deadline=asyncio.get_running_loop().time() + 2))
        await read(call(StringValue(value="x")), received)
    assert received == ["x", "x"]
    assert (called.headers["traceparent"], called.headers["x-request-id"]) == (TRACEPARENT, "edge-1")
    assert 1 < called.seconds < 2.5


async def test_outside_of_a_call_the_bound_holds_and_a_caller_may_ask_for_less() -> None:
    called = Called()
    async with calling(called, max_seconds=3) as call:
        await read(call(StringValue(), timeout=60), [])
        assert 2 < called.seconds < 3.5
        await read(call(StringValue(), timeout=1), [])
        assert 0 < called.seconds < 1.5


async def test_without_time_left_nothing_is_called() -> None:
    called = Called()
    async with calling(called) as call:
        serve_request(Request(id="r", traceparent=TRACEPARENT, deadline=asyncio.get_running_loop().time() - 1))
        with pytest.raises(DeadlinePassed):
            await read(call(StringValue()), [])
    assert called.headers == {}


async def test_what_refuses_in_mid_stream_is_raised_after_what_came_before() -> None:
    received = list[str]()
    async with calling(Called(NotFound(metadata={"courseId": "c"}))) as call:
        with pytest.raises(Refused) as caught:
            await read(call(StringValue(value="x")), received)
    assert received == ["x", "x"]
    assert (caught.value.reason, caught.value.code, caught.value.metadata) == (
        NotFound.reason,
        "NOT_FOUND",
        {"courseId": "c"},
    )
    async with calling(Called(InternalError(request_id="r"))) as call:
        with pytest.raises(DependencyUnavailable):
            await read(call(StringValue()), [])


@pytest.mark.parametrize(
    ("refusal", "code", "status"),
    [
        (None, "OK", StatusCode.UNSET),
        (NotFound(), "NOT_FOUND", StatusCode.UNSET),
        (InternalError(request_id="r"), "INTERNAL", StatusCode.ERROR),
    ],
)
async def test_a_stream_is_a_span_of_which_the_other_service_is_told(
    refusal: DomainError | None, code: str, status: StatusCode
) -> None:
    called, recording = Called(refusal), Recording()
    async with calling(called, tracer=recording.tracer) as call:
        with recording.tracer.start_as_current_span("job") as job:
            try:
                await read(call(StringValue()), [])
            except (Refused, DependencyUnavailable):
                assert refusal is not None
    span = recording.spans[0]
    assert (span.name, span.status.status_code) == (METHOD, status)
    assert (span.attributes or {})["rpc.response.status_code"] == code
    assert span.parent
    assert span.parent.span_id == job.get_span_context().span_id
    assert span.context
    assert f"-{span.context.span_id:016x}-" in str(called.headers["traceparent"])
