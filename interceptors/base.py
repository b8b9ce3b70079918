"""One hook for all RPC shapes, and the chain that runs the hooks around a handler."""

from __future__ import annotations

import abc
import inspect
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from services.shared.encoded import Encoded
from services.shared.errors import MalformedRequest
from services.shared.policy import MethodPolicy, PolicyError
from services.shared.principal import Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "aio.ServicerContext[Any, Any]"
Proceed: TypeAlias = "Callable[[], Awaitable[None]]"
"""Runs the rest of the chain and the handler; returns when a unary call has its response, a stream its last message."""
Step: TypeAlias = "Callable[[Call], Coroutine[Any, Any, None]]"
Metadata: TypeAlias = "Sequence[tuple[str, str | bytes]]"

OK = grpc.StatusCode.OK
"""The status of most calls."""

_metadata: ContextVar[Metadata] = ContextVar("azora_metadata")
"""The metadata of the call that this task serves. The context would decode it once more."""


@dataclass(slots=True)
class Call:
    """What interceptors know of one RPC, and what they add to it."""

    policy: MethodPolicy
    context: Context
    metadata: Metadata
    raw: bytes | None
    """The request's bytes; None where requests are a stream."""
    deserialize: Callable[[bytes], Any]
    headers: Mapping[str, Any] = field(init=False)
    """The metadata by name: of a repeated header the last value, which is the one nearest to us. Binary where the name
    ends with `-bin`, or else text."""
    request: Any = None
    """The request's message once it is parsed; of a stream of requests their iterator."""
    response: Any = None
    """The response of a unary call."""
    begun: bool = False
    """Whether the first message of a stream was sent."""
    served: Request = field(default_factory=Request)
    """What handlers and operations may know of the call."""
    status: grpc.StatusCode = OK
    """How the call ended."""
    reason: str = ""
    """ErrorInfo.reason of a call that failed."""

    def __post_init__(self) -> None:
        self.headers = dict(self.metadata)

    def values(self, key: str) -> list[str]:
        """Return all values of a header, in order; binary headers are not text and are left out."""
        return [value for name, value in self.metadata if name == key and isinstance(value, str)]

    def value(self, key: str) -> str:
        """Return the last value of a text header, or an empty string; not for names that end with `-bin`."""
        value: str = self.headers.get(key, "")
        return value

    def parse(self, data: bytes) -> Any:
        """Return the message that the bytes hold. Raises MalformedRequest."""
        try:
            return self.deserialize(data)
        except DecodeError:
            raise MalformedRequest from None

    async def send_headers(self) -> None:
        """Send the answer's headers, if it has any: a batch of its own costs more than the rest of the chain."""
        if self.served.initial_metadata:
            await self.context.send_initial_metadata(tuple(self.served.initial_metadata.items()))


class Interceptor(abc.ABC):
    """Wraps every RPC, unary or streaming, in `around`. Subclasses need write nothing else."""

    def applies(self, policy: MethodPolicy) -> bool:  # noqa: ARG002 - for subclasses
        """Whether there is anything to do for calls of the policy's method: asked once, not for every call."""
        return True

    @abc.abstractmethod
    async def around(self, call: Call, proceed: Proceed) -> None:
        """Await `proceed` once, or raise instead; what it raises was raised within."""


class Chain(aio.ServerInterceptor):
    """Runs interceptors, outermost first, around every handler of a server.

    gRPC hands it the request's bytes: parsing happens inside the chain, after authentication and the limits, so that
    malformed bytes are authenticated, limited, logged and answered like anything else.
    """

    def __init__(self, interceptors: Sequence[Interceptor], policies: Mapping[str, MethodPolicy]) -> None:
        self.interceptors = tuple(interceptors)
        self._policies = policies
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the method's handler with the chain around it."""
        path = handler_call_details.method
        _metadata.set(handler_call_details.invocation_metadata or ())
        wrapped = self._wrapped.get(path)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None  # An unknown method: gRPC answers UNIMPLEMENTED.
            if path not in self._policies:
                raise PolicyError(f"{path} is served without a policy")
            wrapped = self._wrapped[path] = self._wrap(handler, self._policies[path])
        return wrapped

    def _wrap(self, handler: Handler, policy: MethodPolicy) -> Handler:
        inner: Any = handler.stream_stream or handler.unary_stream or handler.stream_unary or handler.unary_unary
        run = _streaming(inner) if handler.response_streaming else _unary(inner)
        for interceptor in reversed(self.interceptors):
            if interceptor.applies(policy):
                run = _link(interceptor, run)
        deserialize = handler.request_deserializer or bytes

        async def handle(request: Any, context: Context) -> Any:
            raw = None if handler.request_streaming else request
            call = Call(policy, context, _metadata.get(), raw, deserialize)
            if raw is None:
                call.request = _parsed(call, request)
            await run(call)
            return call.response

        make: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        wrapped: Handler = make(
            handle, request_deserializer=None, response_serializer=_serializer(handler.response_serializer or bytes)
        )
        return wrapped


def _link(interceptor: Interceptor, following: Step) -> Step:
    def step(call: Call) -> Coroutine[Any, Any, None]:
        return interceptor.around(call, partial(following, call))

    return step


def _unary(handler: Callable[[Any, Context], Awaitable[Any]]) -> Step:
    async def respond(call: Call) -> None:
        call.response = await handler(call.request, call.context)
        await call.send_headers()

    return respond


def _streaming(handler: Callable[[Any, Context], Any]) -> Step:
    async def respond(call: Call) -> None:
        responses = handler(call.request, call.context)
        if inspect.isawaitable(responses):  # The other manner of grpc.aio: the handler writes to the context itself.
            await call.send_headers()
            await responses
            return
        try:
            async for response in responses:
                if not call.begun:
                    call.begun = True
                    await call.send_headers()
                await call.context.write(response)
        finally:  # Wherever it was when the client went away, the handler ends now, not when it is collected.
            await responses.aclose()
        if not call.begun:
            await call.send_headers()

    return respond


def _serializer(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    def encode(response: Any) -> bytes:
        return response.data if type(response) is Encoded else serialize(response)

    return encode


async def _parsed(call: Call, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for request in requests:
        yield call.parse(request)
