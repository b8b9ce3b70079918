"""Scopes of API keys, compiled from the contract: what an access token of a key may call, as far as its owner may."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from azora.policy.v1 import policy_pb2
from google.protobuf.descriptor_pb2 import MethodOptions

from services.shared.descriptors import descriptor_set

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor_pb2 import FileDescriptorSet


def scope_of(owner: str, *, no_side_effects: bool) -> str:
    """Return the scope of a service's reads, or that of all else: "payment.read", "payment.write"."""
    return f"{owner}.{'read' if no_side_effects else 'write'}"


@cache
def declared_scopes() -> tuple[str, ...]:
    """Return all scopes, sorted, from the descriptor set of azora-protos, whichever of its modules were imported."""
    return scopes_of(descriptor_set())


def scopes_of(descriptors: FileDescriptorSet) -> tuple[str, ...]:
    """Return the scopes that a descriptor set declares: those of what users may call other than interactively."""
    return tuple(sorted(set(_scopes(descriptors))))


def _scopes(descriptors: FileDescriptorSet) -> Iterator[str]:
    for file in descriptors.file:
        for service in file.service:
            for method in service.method:
                policy = method.options.Extensions[policy_pb2.policy]
                users = any(access.public or access.signed_in or access.permission for access in policy.access)
                if users and not policy.interactive:
                    level = method.options.idempotency_level
                    yield scope_of(file.package.split(".")[1], no_side_effects=level == MethodOptions.NO_SIDE_EFFECTS)
