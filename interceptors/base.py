"""One hook for all four RPC shapes, and the chain that runs the hooks around a handler."""

from __future__ import annotations

import abc
import inspect
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from grpc import aio

from services.shared.policy import MethodPolicy, PolicyError
from services.shared.principal import Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "aio.ServicerContext[Any, Any]"


@dataclass(slots=True)
class Call:
    """What interceptors know of one RPC, and what they add to it."""

    policy: MethodPolicy
    metadata: Sequence[tuple[str, str | bytes]]
    context: Context
    raw: bytes | None
    """The request's bytes; None where requests are a stream."""
    deserialize: Callable[[bytes], Any]
    request: Any = None
    """The request's message, once it is parsed."""
    served: Request = field(default_factory=lambda: Request(id="", traceparent=""))
    """What handlers and operations may know of the call."""
    status: grpc.StatusCode = grpc.StatusCode.OK
    """How the call ended."""
    reason: str = ""
    """ErrorInfo.reason of a call that failed."""
    headers_sent: bool = False

    def values(self, key: str) -> list[str]:
        """Return all values of a header, in order; binary headers are not text and are left out."""
        return [value for name, value in self.metadata if name == key and isinstance(value, str)]

    def value(self, key: str) -> str:
        """Return the last value of a header (the one nearest to us), or an empty string."""
        values = self.values(key)
        return values[-1] if values else ""

    async def send_headers(self) -> None:
        """Send the answer's headers, once. A JSON client sees initial metadata only, never trailers of a success."""
        if not self.headers_sent:
            self.headers_sent = True
            if self.served.initial_metadata:
                await self.context.send_initial_metadata(tuple(self.served.initial_metadata.items()))


class Interceptor(abc.ABC):
    """Wraps every RPC, unary or streaming, in `around`. Subclasses write nothing else."""

    @abc.abstractmethod
    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        """Return what is entered before the call goes on, and left when it has ended."""


class Chain(aio.ServerInterceptor):
    """Runs interceptors, outermost first, around every handler of a server.

    gRPC hands it the request's bytes: parsing happens inside the chain, after authentication and the limits, so that
    malformed bytes are authenticated, limited, logged and answered like anything else.
    """

    def __init__(self, interceptors: Sequence[Interceptor], policies: Mapping[str, MethodPolicy]) -> None:
        self._interceptors = tuple(interceptors)
        self._policies = policies
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the method's handler with the chain around it."""
        path = handler_call_details.method
        if path not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None  # An unknown method: gRPC answers UNIMPLEMENTED.
            if path not in self._policies:
                raise PolicyError(f"{path} is served without a policy")
            self._wrapped[path] = self._wrap(handler, self._policies[path])
        return self._wrapped[path]

    def _wrap(self, handler: Handler, policy: MethodPolicy) -> Handler:
        inner: Any = handler.stream_stream or handler.unary_stream or handler.stream_unary or handler.unary_unary

        def begin(request: Any, context: Context) -> Call:
            return Call(
                policy=policy,
                metadata=tuple(context.invocation_metadata() or ()),
                context=context,
                raw=None if handler.request_streaming else request,
                deserialize=handler.request_deserializer or bytes,
            )

        def message(call: Call, request: Any) -> Any:
            return _parsed(request, call.deserialize) if handler.request_streaming else call.request

        async def single(request: Any, context: Context) -> Any:
            call = begin(request, context)
            async with _nested(self._interceptors, call):
                response = await inner(message(call, request), context)
                await call.send_headers()
                return response

        async def streaming(request: Any, context: Context) -> AsyncIterator[Any]:
            call = begin(request, context)
            async with _nested(self._interceptors, call):
                await call.send_headers()
                responses = inner(message(call, request), context)
                if inspect.isawaitable(responses):
                    await responses  # The older manner: such a handler writes to the context by itself.
                    return
                async for response in responses:
                    yield response

        make: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        wrapped: Handler = make(
            streaming if handler.response_streaming else single,
            request_deserializer=None,
            response_serializer=handler.response_serializer,
        )
        return wrapped


@asynccontextmanager
async def _nested(interceptors: Sequence[Interceptor], call: Call) -> AsyncIterator[None]:
    """Enter all interceptors' `around`: each sees the refusals of those within it, and answers or passes them on."""
    if not interceptors:
        yield
        return
    async with interceptors[0].around(call), _nested(interceptors[1:], call):
        yield


async def _parsed(requests: AsyncIterator[bytes], deserialize: Callable[[bytes], Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield deserialize(request)
