"""The whole contract of the mesh, from the descriptor set that azora-protos carries: no service is listed by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from typing import TYPE_CHECKING

from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from services.shared.descriptors import descriptor_set
from services.shared.policy import INFRASTRUCTURE, compile_policies

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

    from services.shared.policy import MethodPolicy

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
HEALTH_CHECK = f"/{HEALTH}/Check"
CHECKED_SERVICE = "azora-service"
"""The metadata key by which the gateway tells Envoy whose health it asks for."""
GATEWAY = "gateway"
"""The process beside the services, without a database: what it serves of the contract is for development."""
ENVOY = "envoy"
"""Name of Envoy, as in its identity on the mesh."""
LISTENER_TAG = "azora.listener"
"""Attribute of Envoy's spans: the listener's name."""
OPENAPI = files("azora") / "openapi.json"


@dataclass(frozen=True)
class Contract:
    """All gRPC services of the mesh, those of gRPC itself (health, reflection) included."""

    pool: DescriptorPool
    services: tuple[ServiceDescriptor, ...]

    @cached_property
    def declared(self) -> tuple[ServiceDescriptor, ...]:
        """The services that our own .proto files declare."""
        return tuple(service for service in self.services if service.full_name not in INFRASTRUCTURE)

    @cached_property
    def owners(self) -> tuple[str, ...]:
        """The names of the mesh's services, as their packages have them: auth, education, payment."""
        return tuple(sorted({self.owner(service) for service in self.declared} - {GATEWAY}))

    @cached_property
    def deployed(self) -> Contract:
        """What a production system serves: all but what the gateway serves."""
        return replace(self, services=tuple(each for each in self.services if self.owner(each) != GATEWAY))

    @property
    def names(self) -> tuple[str, ...]:
        """The full names of all gRPC services."""
        return tuple(service.full_name for service in self.services)

    @cached_property
    def methods(self) -> Mapping[str, MethodDescriptor]:
        """Every method by its gRPC path."""
        return {f"/{method.containing_service.full_name}/{method.name}": method for method in self._methods()}

    def _methods(self) -> Iterator[MethodDescriptor]:
        for service in self.services:
            yield from service.methods

    def owner(self, service: ServiceDescriptor) -> str:
        """Return the name of the mesh's service that serves a gRPC service."""
        return service.full_name.split(".")[1]

    @cached_property
    def policies(self) -> Mapping[str, MethodPolicy]:
        """Every method's policy by its gRPC path. Raises PolicyError."""
        return compile_policies(self.services)


@cache
def load_contract() -> Contract:
    """Read the contract from the installed azora-protos."""
    return contract_of(descriptor_set())


def contract_of(descriptors: FileDescriptorSet) -> Contract:
    """Return the contract that a descriptor set holds, with gRPC's own services added."""
    pool = DescriptorPool()  # Of its own: it must not depend on which modules were imported.
    services: list[ServiceDescriptor] = []
    for file in (*descriptors.file, *_infrastructure()):
        pool.Add(file)
        services += pool.FindFileByName(file.name).services_by_name.values()
    return Contract(pool, tuple(services))


def _infrastructure() -> Iterator[FileDescriptorProto]:
    yield FileDescriptorProto.FromString(health_pb2.DESCRIPTOR.serialized_pb)
    v1alpha = FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    yield v1alpha
    # The package ships v1alpha only; v1 is the same under another name.
    yield text_format.Parse(text_format.MessageToString(v1alpha).replace("v1alpha", "v1"), FileDescriptorProto())
