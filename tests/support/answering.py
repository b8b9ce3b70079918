"""A gRPC server that answers every call of azora.client as a test tells it to, and keeps what it was sent."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from cryptography import x509
from google.protobuf.descriptor_pool import Default
from grpc import aio

from interceptors.errors import code_of, to_status
from tests.support.serving import short_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from services.shared.errors import DomainError


@dataclass(frozen=True, slots=True)
class Received:
    """A call: its headers, the seconds that its caller gives it, and the serial number of the caller's certificate."""

    method: str
    headers: Mapping[str, str]
    seconds: float
    certificate: int


@dataclass(slots=True)
class Answering(grpc.GenericRpcHandler):
    """Answers with a message, three times in a stream, unless it is to refuse: a stream after its first message."""

    refusal: DomainError | None = None
    message: bytes = b""
    trailers: tuple[tuple[str, str | bytes], ...] = ()
    """Metadata of refusals."""
    answer: Callable[[], Any] | None = None
    """Awaited before each answer."""
    received: list[Received] = field(default_factory=list)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Handle any method."""
        method = handler_call_details.method
        service, name = method.removeprefix("/").split("/")

        async def unary(_request: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes:
            await self._receive(method, context)
            await self._refuse(context)
            return self.message

        async def stream(_request: bytes, context: aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
            await self._receive(method, context)
            yield self.message
            await self._refuse(context)
            yield self.message
            yield self.message

        known: Any = Default().FindServiceByName(service).methods_by_name[name]
        if known.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)

    async def _receive(self, method: str, context: aio.ServicerContext[bytes, bytes]) -> None:
        headers = {key: str(value) for key, value in context.invocation_metadata() or ()}
        pem = next(iter(context.auth_context().get("x509_pem_cert", ())), b"")
        serial = x509.load_pem_x509_certificate(pem).serial_number if pem else 0
        self.received.append(Received(method, headers, context.time_remaining() or float("inf"), serial))
        if self.answer is not None:
            await self.answer()

    async def _refuse(self, context: aio.ServicerContext[bytes, bytes]) -> None:
        if self.refusal is not None:
            status = to_status(self.refusal)
            details = ("grpc-status-details-bin", status.SerializeToString())
            await context.abort(code_of(self.refusal), status.message, (details, *self.trailers))


@asynccontextmanager
async def serve(
    handler: Answering, target: str, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[Answering]:
    """Serve at a target."""
    server = aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((handler,))
    if credentials is None:
        server.add_insecure_port(target)
    else:
        server.add_secure_port(target, credentials)
    await server.start()
    try:
        yield handler
    finally:
        await server.stop(None)


@asynccontextmanager
async def answering(refusal: DomainError | None = None) -> AsyncIterator[tuple[str, Answering]]:
    """Serve on a unix socket; give the target and the server."""
    async with short_folder() as folder, serve(Answering(refusal), f"unix:{folder}/s") as handler:
        yield f"unix:{folder}/s", handler
