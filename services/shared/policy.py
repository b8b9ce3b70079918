"""The policy of every RPC, read from the descriptors: who may call it, how often, for how long.

This is the one reading of azora.policy.v1 that everything else is compiled from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from azora.policy.v1 import permission_pb2, policy_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import MethodOptions

from services.shared.events import declared_events, publishers_to
from services.shared.scopes import scope_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor

    from services.shared.events import EventType

INFRASTRUCTURE_STREAMS = {
    "/grpc.health.v1.Health/Check": False,
    "/grpc.health.v1.Health/List": False,
    "/grpc.health.v1.Health/Watch": True,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": True,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": True,
}
"""gRPC's own methods, and whether they stream: where they are served anyone may call them, and they carry no policy."""
INFRASTRUCTURE = frozenset(path.split("/")[1] for path in INFRASTRUCTURE_STREAMS)
"""The services they belong to."""

WATCH_FIELDS = {"heartbeat": "azora.type.v1.Heartbeat", "error": "google.rpc.Status"}
"""What the messages of a watch have beside its items."""
HTTP_BODY = "google.api.HttpBody"
"""The message of a request body that is taken as it is."""
METRICS = "/azora.telemetry.v1.MetricsService/GetMetrics"
"""Where a process shows its metrics to the gateway. No part of the contract: Envoy knows nothing of it."""


class PolicyError(Exception):
    """An RPC has no policy, or one that cannot be enforced. Nothing starts with it: deny by default."""


class Priority(IntEnum):
    """Who is served under overload: calls of a lower priority are refused first."""

    LOW = policy_pb2.PRIORITY_LOW
    NORMAL = policy_pb2.PRIORITY_NORMAL
    HIGH = policy_pb2.PRIORITY_HIGH
    CRITICAL = policy_pb2.PRIORITY_CRITICAL


@dataclass(frozen=True, slots=True)
class Tier:
    """How many calls a minute; zero where a dimension is not counted."""

    name: str
    per_address: int = 0
    per_user: int = 0
    priority: Priority = Priority.NORMAL

    def scaled(self, scale: float) -> Tier:
        """Return the tier with its limits multiplied, rounded down to no less than 1."""
        address, user = (limit and max(1, math.floor(limit * scale)) for limit in (self.per_address, self.per_user))
        return replace(self, per_address=address, per_user=user)


@dataclass(frozen=True, slots=True)
class MethodPolicy:
    """What the contract says of one RPC."""

    path: str
    """The gRPC path: "/azora.payment.v1.PaymentService/Earn"."""
    public: bool
    signed_in: bool
    permissions: frozenset[str]
    services: frozenset[str]
    tier: Tier | None
    """None only for gRPC's own services."""
    timeout_seconds: float
    takes_idempotency_key: bool
    acting_user_field: str
    counted_field: str
    retry_safe: bool
    """Whether the standard idempotency_level allows a retry after the call may have been executed."""
    server_streaming: bool
    no_side_effects: bool = False
    """Whether it only reads, so that two attempts may run at the same time."""
    watched: Descriptor | None = None
    """Of a watch its message, `oneof {item, heartbeat, error}`: a stream that stays open until one side ends it."""
    priority: Priority = Priority.NORMAL
    requires_fresh_sessions: bool = False
    """Whether users are refused while revocations of sessions are not known as of a moment ago."""
    interactive: bool = False
    """Whether access tokens of API keys are refused, whatever their scopes."""
    content_types: tuple[str, ...] = ()
    """The media types of its HTTP request body; none where it is JSON."""
    response_content_types: tuple[str, ...] = ()
    """The media types of its document; none where it answers with a message."""

    @property
    def watch(self) -> bool:
        """Whether it is a watch, whose end is no failure: clients reconnect."""
        return self.watched is not None

    @property
    def internal(self) -> bool:
        """Whether only services may call it."""
        return not (self.public or self.signed_in or self.permissions)

    @property
    def service_path(self) -> str:
        """The gRPC service: "azora.payment.v1.PaymentService"."""
        return self.path.split("/")[1]

    @property
    def owner(self) -> str:
        """The service of the mesh that serves it: "payment"."""
        return self.service_path.split(".")[1]

    @property
    def scope(self) -> str:
        """The scope that an access token of an API key needs: "payment.write"."""
        return scope_of(self.owner, no_side_effects=self.no_side_effects)


def compile_policies(
    services: Iterable[ServiceDescriptor], events: Sequence[EventType] | None = None
) -> dict[str, MethodPolicy]:
    """Return the policies of all methods of `services` by gRPC path. Raises PolicyError.

    `events` says who publishes to whom; unset, it is what the installed contract declares.
    """
    known = declared_events() if events is None else events
    return {policy.path: policy for service in services for policy in _service(service, known)}


def infrastructure_policies() -> dict[str, MethodPolicy]:
    """Return the policies of gRPC's own methods, health and reflection, and of the one that shows metrics."""
    streaming = INFRASTRUCTURE_STREAMS | {METRICS: False}
    return {path: _infrastructure(path, streams=streams) for path, streams in streaming.items()}


def role_permissions() -> Mapping[str, frozenset[str]]:
    """Return, for each role's name, the names of the permissions that it holds."""
    granted: dict[str, set[str]] = {name: set() for name in permission_pb2.Role.keys()}  # noqa: SIM118 - not a dict
    for value in permission_pb2.Permission.DESCRIPTOR.values:
        for role in value.GetOptions().Extensions[permission_pb2.grant].roles:
            granted[permission_pb2.Role.Name(role)].add(value.name)
    return {role: frozenset(names) for role, names in granted.items()}


def tiers() -> Mapping[str, Tier]:
    """Return the rate-limit tiers by short name ("MONEY"), as the contract has them."""
    values = {value.number: value for value in policy_pb2.RateTier.DESCRIPTOR.values if value.number}
    return {tier.name: tier for tier in map(_tier, values.values())}


def _service(service: ServiceDescriptor, events: Sequence[EventType]) -> Iterator[MethodPolicy]:
    for method in service.methods:
        path = f"/{service.full_name}/{method.name}"
        streams = INFRASTRUCTURE_STREAMS.get(path)
        yield _declared(path, method, events) if streams is None else _infrastructure(path, streams=streams)


def _infrastructure(path: str, *, streams: bool) -> MethodPolicy:
    return MethodPolicy(
        path=path,
        public=True,
        signed_in=False,
        permissions=frozenset(),
        services=frozenset(),
        tier=None,
        timeout_seconds=600 if streams else 2,
        takes_idempotency_key=False,
        acting_user_field="",
        counted_field="",
        retry_safe=True,
        server_streaming=streams,
        no_side_effects=True,
        priority=Priority.LOW if streams else Priority.CRITICAL,
    )


def _declared(path: str, method: MethodDescriptor, events: Sequence[EventType]) -> MethodPolicy:
    options = method.GetOptions()
    if not options.HasExtension(policy_pb2.policy):
        raise PolicyError(f"{path} has no policy: declare option (azora.policy.v1.policy)")
    declared = options.Extensions[policy_pb2.policy]
    value = policy_pb2.RateTier.DESCRIPTOR.values_by_number.get(declared.rate_tier)
    _check(path, method, declared)
    services = {access.service for access in declared.access if access.service}
    if any(access.publishers for access in declared.access):
        owner = path.split(".")[1]
        publishers = publishers_to(owner, events)
        if not publishers:
            raise PolicyError(f"{path} is open to publishers, and no event names {owner} as a subscriber")
        services |= publishers
    return MethodPolicy(
        path=path,
        public=any(access.public for access in declared.access),
        signed_in=any(access.signed_in for access in declared.access),
        permissions=frozenset(
            permission_pb2.Permission.Name(access.permission) for access in declared.access if access.permission
        ),
        services=frozenset(services),
        tier=_tier(value),
        timeout_seconds=declared.timeout.ToTimedelta().total_seconds(),
        takes_idempotency_key=declared.idempotency_key,
        acting_user_field=declared.acting_user_field,
        counted_field=declared.counted_field,
        retry_safe=options.idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN,
        server_streaming=method.server_streaming,
        no_side_effects=options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS,
        watched=_watched(path, method) if declared.watch else None,
        priority=Priority(declared.priority or _tier(value).priority),
        requires_fresh_sessions=declared.requires_fresh_sessions,
        interactive=declared.interactive,
        content_types=tuple(declared.content_types),
        response_content_types=tuple(declared.response_content_types),
    )


def _check(path: str, method: MethodDescriptor, declared: policy_pb2.Policy) -> None:
    """Raise PolicyError for a policy that cannot be enforced."""
    if not declared.access:
        raise PolicyError(f"{path} has no access rule: its policy must list at least one")
    if not declared.rate_tier or declared.rate_tier not in policy_pb2.RateTier.DESCRIPTOR.values_by_number:
        raise PolicyError(f"{path} has no rate tier")
    if declared.timeout.ToTimedelta().total_seconds() <= 0:
        raise PolicyError(f"{path} has no timeout")
    for field in filter(None, (declared.acting_user_field, declared.counted_field)):
        if field not in method.input_type.fields_by_name:
            raise PolicyError(f"{path} refers to the unknown field {field} of {method.input_type.full_name}")
    if declared.idempotency_key and "request_id" not in method.input_type.fields_by_name:
        raise PolicyError(f"{path} accepts an idempotency key, but {method.input_type.full_name} has no request_id")
    if declared.requires_fresh_sessions and any(access.public for access in declared.access):
        raise PolicyError(f"{path} requires fresh sessions, but is public")
    if _takes_http_body(method) is not bool(declared.content_types):
        raise PolicyError(f"{path} must declare content types if its HTTP request body is a {HTTP_BODY}, and only then")
    if (method.output_type.full_name == HTTP_BODY) is not bool(declared.response_content_types):
        raise PolicyError(f"{path} must declare response content types if its response is a {HTTP_BODY}, and only then")


def _takes_http_body(method: MethodDescriptor) -> bool:
    """Whether the body of an HTTP request is no JSON but taken as it is."""
    body = method.GetOptions().Extensions[annotations_pb2.http].body
    field = method.input_type.fields_by_name.get(body)
    message = field.message_type if field else method.input_type
    return bool(body) and message is not None and message.full_name == HTTP_BODY


def _watched(path: str, method: MethodDescriptor) -> Descriptor:
    """Return the message of a watch, which has a heartbeat, and an error in which a failure can be told."""
    types = {field.name: field.message_type.full_name for field in method.output_type.fields if field.message_type}
    if not method.server_streaming or not WATCH_FIELDS.items() <= types.items():
        raise PolicyError(f"{path} is no watch: it must stream messages with the fields heartbeat and error")
    return method.output_type


def _tier(value: object) -> Tier:
    limit = value.GetOptions().Extensions[policy_pb2.tier_limit]  # type: ignore[attr-defined]
    return Tier(
        name=value.name.removeprefix("RATE_TIER_"),  # type: ignore[attr-defined]
        per_address=limit.per_address_per_minute,
        per_user=limit.per_user_per_minute,
        priority=Priority(limit.priority),
    )
