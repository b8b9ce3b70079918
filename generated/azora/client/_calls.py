"""What is done for every call: its scope and its idempotency key go along, its failure is a CallError."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from azora.client._errors import typed_errors
from azora.client._keys import added_key
from azora.client._scope import CURRENT, merged
from grpc import aio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class AsyncCalls(aio.UnaryUnaryClientInterceptor):
    """Calls with one response, through a grpc.aio channel."""

    async def intercept_unary_unary(
        self,
        continuation: Callable[[aio.ClientCallDetails, Any], Any],
        client_call_details: aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Make the call and await its response. Raises CallError."""
        with typed_errors():
            call = await continuation(_prepared_async(client_call_details, request), request)
            await call
        return call


class AsyncStreams(aio.UnaryStreamClientInterceptor):
    """Calls with a stream of responses, through a grpc.aio channel."""

    async def intercept_unary_stream(
        self,
        continuation: Callable[[aio.ClientCallDetails, Any], Any],
        client_call_details: aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Make the call. Iterating over its responses raises CallError."""
        return _responses(await continuation(_prepared_async(client_call_details, request), request))


async def _responses(call: Any) -> AsyncIterator[Any]:
    with typed_errors():
        async for response in call:
            yield response


class BlockingCalls(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Calls through a blocking channel."""

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Make the call. Its result raises CallError."""
        return _BlockingCall(continuation(_prepared(client_call_details, request), request))

    intercept_unary_stream = intercept_unary_unary


class _BlockingCall:
    """grpc's call, future and iterator, but for its errors."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def result(self, timeout: float | None = None) -> Any:
        with typed_errors():
            return self._call.result(timeout)

    def exception(self, timeout: float | None = None) -> Exception | None:
        try:
            self.result(timeout)
        except grpc.RpcError as error:
            return error
        return None

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._call.add_done_callback(lambda _call: callback(self))

    def __iter__(self) -> _BlockingCall:
        return self

    def __next__(self) -> Any:
        with typed_errors():
            return next(self._call)


def _prepared(details: Any, request: Any) -> Any:
    """Return the details of a call with what its scope gives it, and a key if it needs one."""
    scope, own = CURRENT.get(), tuple(details.metadata or ())
    metadata = merged(scope.metadata, own)
    return details._replace(
        timeout=scope.timeout(details.timeout), metadata=(*metadata, *added_key(details.method, request, metadata))
    )


def _prepared_async(details: Any, request: Any) -> Any:
    prepared = _prepared(details, request)
    return prepared._replace(metadata=aio.Metadata(*prepared.metadata))
