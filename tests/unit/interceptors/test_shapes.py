"""The chain around every RPC shape: what a handler may return, and when it ends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio

from interceptors.base import Call, Chain, Interceptor, Proceed
from interceptors.errors import Errors
from services.shared.encoded import Encoded
from services.shared.errors import Aborted
from services.shared.policy import infrastructure_policies
from tests.support.serving import short_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

POLICY = infrastructure_policies()["/grpc.health.v1.Health/Watch"]


class Parse(Interceptor):
    """Parses what is not a stream, and says one thing in the headers."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers
        self.ended: list[str] = []

    async def around(self, call: Call, proceed: Proceed) -> None:
        call.served.initial_metadata |= self.headers
        if call.raw is not None:
            call.request = call.parse(call.raw)
        try:
            await proceed()
        finally:
            self.ended.append(call.policy.path)


@asynccontextmanager
async def served(handler: Any, interceptors: Sequence[Interceptor]) -> AsyncIterator[aio.Channel]:
    path = "/azora.test.v1.Test/Call"
    server = aio.server(interceptors=[Chain((Errors(), *interceptors), {path: replace(POLICY, path=path)})])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("azora.test.v1.Test", {"Call": handler}),))
    async with short_folder() as folder:
        server.add_insecure_port(f"unix:{folder}/s")
        await server.start()
        async with aio.insecure_channel(f"unix:{folder}/s") as channel:
            yield channel
        await server.stop(None)


def shape(make: Any, behaviour: Callable[..., Any]) -> Any:
    return make(behaviour, StringValue.FromString, StringValue.SerializeToString)


def opened(channel: aio.Channel, kind: str) -> Any:
    make: Any = getattr(channel, kind)
    return make("/azora.test.v1.Test/Call", StringValue.SerializeToString, StringValue.FromString)


async def counting(request: StringValue, context: Any) -> AsyncIterator[Any]:
    yield StringValue(value=f"{request.value} 1")
    yield Encoded[StringValue](StringValue(value=f"{request.value} 2").SerializeToString())


async def test_a_handler_may_return_bytes_that_are_encoded_already() -> None:
    async def answer(request: StringValue, context: Any) -> StringValue:
        return Encoded[StringValue](request.SerializeToString()).as_response()

    async with served(shape(grpc.unary_unary_rpc_method_handler, answer), [Parse({})]) as channel:
        assert (await opened(channel, "unary_unary")(StringValue(value="same"))).value == "same"


async def test_a_stream_sends_its_headers_with_the_first_message_and_lasts_as_long_as_its_call() -> None:
    parse = Parse({"idempotent-replayed": "true"})
    async with served(shape(grpc.unary_stream_rpc_method_handler, counting), [parse]) as channel:
        call = opened(channel, "unary_stream")(StringValue(value="n"))
        assert dict(await call.initial_metadata()) == {"idempotent-replayed": "true"}
        assert [message.value async for message in call] == ["n 1", "n 2"]
    assert len(parse.ended) == 1


async def test_an_empty_stream_sends_its_headers_too() -> None:
    async def nothing(request: Any, context: Any) -> AsyncIterator[StringValue]:
        for message in tuple[StringValue, ...]():
            yield message

    async with served(shape(grpc.unary_stream_rpc_method_handler, nothing), [Parse({"a": "b"})]) as channel:
        call = opened(channel, "unary_stream")(StringValue())
        assert [message async for message in call] == []
        assert dict(await call.initial_metadata()) == {"a": "b"}


async def test_a_stream_that_is_refused_at_once_sends_no_headers() -> None:
    async def refusing(request: Any, context: Any) -> AsyncIterator[StringValue]:
        raise Aborted
        yield StringValue()

    async with served(shape(grpc.unary_stream_rpc_method_handler, refusing), [Parse({"a": "b"})]) as channel:
        call = opened(channel, "unary_stream")(StringValue())
        with pytest.raises(aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert dict(caught.value.trailing_metadata())["a"] == "b"
    assert not tuple(caught.value.initial_metadata())


@pytest.mark.parametrize("reading", [True, False])
async def test_a_client_that_goes_away_ends_the_stream_within_a_tenth_of_a_second(reading: bool) -> None:
    """Both where the handler waits for something to say, and where it waits for a client that reads too slowly."""
    ended = asyncio.Event()

    async def endless(request: Any, context: Any) -> AsyncIterator[StringValue]:
        try:
            yield StringValue(value="first")
            if reading:
                await asyncio.Event().wait()
            while True:
                yield StringValue(value="x" * 100_000)
        finally:
            ended.set()

    parse = Parse({})
    async with served(shape(grpc.unary_stream_rpc_method_handler, endless), [parse]) as channel:
        call = opened(channel, "unary_stream")(StringValue())
        await call.read()
        call.cancel()
        async with asyncio.timeout(0.1):
            await ended.wait()
        assert len(parse.ended) == 1


async def test_requests_in_a_stream_are_parsed_as_they_come_and_refused_when_malformed() -> None:
    async def echoing(requests: Any, context: Any) -> AsyncIterator[StringValue]:
        async for request in requests:
            yield request

    async with served(shape(grpc.stream_stream_rpc_method_handler, echoing), [Parse({})]) as channel:
        call = opened(channel, "stream_stream")(iter([StringValue(value="a"), StringValue(value="b")]))
        assert [message.value async for message in call] == ["a", "b"]
        raw: Any = channel.stream_stream("/azora.test.v1.Test/Call")
        with pytest.raises(aio.AioRpcError) as caught:
            await raw(iter([b"\xff\xff"])).read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_handler_that_writes_to_the_context_goes_through_the_chain() -> None:
    async def writing(request: StringValue, context: Any) -> None:
        await context.write(request)

    parse = Parse({})
    async with served(shape(grpc.unary_stream_rpc_method_handler, writing), [parse]) as channel:
        call = opened(channel, "unary_stream")(StringValue(value="w"))
        assert [message.value async for message in call] == ["w"]
    assert len(parse.ended) == 1
