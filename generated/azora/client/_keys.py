"""Idempotency keys for methods that take one: the same over all attempts of a call, so that they can be retried.

A key is set above gRPC's own retries, each of which is a new call to the server.
"""

from __future__ import annotations

import uuid
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from azora.policy.v1 import policy_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
