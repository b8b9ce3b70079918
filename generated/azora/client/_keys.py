"""Idempotency keys for methods that take one: the same over all attempts of a call, so that they can be retried.

A key is set above gRPC's own retries, each of which is a new call to the server.
"""

from __future__ import annotations

import uuid
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from azora.policy.v1 import policy_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

HEADER = "idempotency-key"


@cache
def keyed_methods() -> Mapping[str, str]:
    """Return the gRPC paths of all methods whose policy takes an idempotency key, each with its request's full name."""
    return {
        f"/{file.package}.{service.name}/{method.name}": method.input_type.removeprefix(".")
        for file in _descriptors().file
        for service in file.service
        for method in service.method
        if method.options.Extensions[policy_pb2.policy].idempotency_key
    }


class AsyncKeys(aio.UnaryUnaryClientInterceptor):
    """Adds a key to calls through a grpc.aio channel."""

    async def intercept_unary_unary(
        self,
        continuation: Callable[[aio.ClientCallDetails, Any], Any],
        client_call_details: aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Go on with the call, with a key if it needs one."""
        details = client_call_details
        added = added_key(details.method, request, details.metadata or ())
        if added:
            details = aio.ClientCallDetails(
                details.method,
                details.timeout,
                aio.Metadata(*(details.metadata or ()), *added),
                details.credentials,
                details.wait_for_ready,
            )
        return await continuation(details, request)


class BlockingKeys(grpc.UnaryUnaryClientInterceptor):
    """Adds a key to calls through a blocking channel."""

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Go on with the call, with a key if it needs one."""
        details = client_call_details
        added = added_key(details.method, request, details.metadata or ())
        if added:
            details = _Details(
                details.method,
                details.timeout,
                (*(details.metadata or ()), *added),
                details.credentials,
                details.wait_for_ready,
                details.compression,
            )
        return continuation(details, request)


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: tuple[tuple[str, str | bytes], ...]
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


def added_key(
    method: str | bytes, request: Any, metadata: Iterable[tuple[str, str | bytes]]
) -> tuple[tuple[str, str], ...]:
    """Return the metadata to add to a call: a key, where the method takes one and neither body nor metadata has it."""
    path = method.decode() if isinstance(method, bytes) else method
    if path not in keyed_methods() or any(name == HEADER for name, _ in metadata) or _has_key(path, request):
        return ()
    return ((HEADER, str(uuid.uuid4())),)


def _has_key(path: str, request: Any) -> bool:
    if isinstance(request, bytes):  # A channel without stubs: the message is encoded already.
        try:
            request = _request_class(path).FromString(request)
        except DecodeError:
            return False
    return bool(request.request_id)


@cache
def _request_class(path: str) -> Any:
    pool = DescriptorPool()
    for file in _descriptors().file:
        pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(keyed_methods()[path]))


@cache
def _descriptors() -> FileDescriptorSet:
    return FileDescriptorSet.FromString(files("azora").joinpath("descriptors.binpb").read_bytes())
