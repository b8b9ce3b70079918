"""One hook for all RPC shapes, and the chain that runs the hooks around a handler."""

from __future__ import annotations

import abc
import inspect
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from services.shared.encoded import Encoded
from services.shared.errors import MalformedRequest
from services.shared.policy import MethodPolicy, PolicyError
from services.shared.principal import Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "aio.ServicerContext[Any, Any]"
Proceed: TypeAlias = "Callable[[], Awaitable[None]]"
"""Runs the rest of the chain and the handler; returns when a unary call has its response, a stream its last message."""
Step: TypeAlias = "Callable[[Call, Proceed], Awaitable[None]]"
"""An interceptor's `around`, or the handler, which proceeds nowhere."""
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
    steps: Iterator[Step]
    """What is left of the chain, the handler last."""
    headers: Mapping[str, Any] = field(init=False)
    """The metadata by name: of a repeated header the last value, which is the one nearest to us. Binary where the name
    ends with `-bin`, or else text."""
    request: Any = None
    """The request's message once it is parsed; of a stream of requests their iterator."""
    response: Any = None
    """The response of a unary call."""
    begun: bool = False
    """Whether the first message of a stream was sent."""
    started: float = field(default_factory=time.perf_counter)
    """When it began, by that clock, in seconds."""
    served: Request = field(default_factory=Request)
    """What handlers and operations may know of the call."""
    status: grpc.StatusCode = OK
    """How the call ended."""
    reason: str = ""
    """ErrorInfo.reason of a call that failed."""

    def __post_init__(self) -> None:
        self.headers = dict(self.metadata)

    @property
    def status_name(self) -> str:
        """The name of the status."""
        return "OK" if self.status is OK else self.status.name

    def values(self, key: str) -> list[str]:
        """Return all values of a header, in order; binary headers are not text and are left out."""
        if len(self.headers) == len(self.metadata):  # Each stands there once.
            found: Sequence[Any] = (self.headers.get(key),)
        else:
            found = [value for name, value in self.metadata if name == key]
        return [value for value in found if isinstance(value, str)]

    def value(self, key: str) -> str:
        """Return the last value of a text header, or an empty string; not for names that end with `-bin`."""
        value: str = self.headers.get(key, "")
        return value

    def proceed(self) -> Awaitable[None]:
        """Run the rest of the chain: a Proceed.

        An interceptor calls it once at most: a second call would go on after the step that raised in the first.
        """
        return next(self.steps)(self, self.proceed)

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
        respond = _streaming(inner) if handler.response_streaming else _unary(inner)
        steps = (*(each.around for each in self.interceptors if each.applies(policy)), respond)
        deserialize = handler.request_deserializer or bytes

        async def handle(request: Any, context: Context) -> Any:
            raw = None if handler.request_streaming else request
            call = Call(policy, context, _metadata.get(), raw, deserialize, iter(steps))
            if raw is None:
                call.request = _parsed(call, request)
            await call.proceed()
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


def _unary(handler: Callable[[Any, Context], Awaitable[Any]]) -> Step:
    async def respond(call: Call, _proceed: Proceed) -> None:
        call.response = await handler(call.request, call.context)
        await call.send_headers()

    return respond


def _streaming(handler: Callable[[Any, Context], Any]) -> Step:
    async def respond(call: Call, _proceed: Proceed) -> None:
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
