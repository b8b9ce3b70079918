"""Conversion between what the console shows and its messages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from azora.gateway.v1 import console_pb2
from azora.gateway.v1 import console_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from services.compiler.policy_table import callers, http_route
from services.shared.background_work import background_work
from services.shared.convert import timestamp, to_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from google.protobuf.descriptor import MethodDescriptor

    from services.compiler.contract import Contract
    from services.gateway.console.model import Span, Trace
    from services.gateway.console.operations import Mesh
    from services.gateway.console.sampling import MethodRates, ReplicaCounts, Sample
    from services.shared.background_work import BackgroundWork
    from services.shared.policy import MethodPolicy, Tier

NANOSECONDS = 10**9
DIGITS = 6
"""After the point, of rates and durations: a microsecond."""
NOTHING = 0.0, 0.0, 0.0, 0.0


def after(request: pb.GetMeshRequest) -> datetime | None:
    """Return the time after which samples are asked for. Raises ValidationFailed."""
    return to_time(request.after_time, field="afterTime") if request.HasField("after_time") else None


def get_mesh_response(mesh: Mesh) -> pb.GetMeshResponse:
    """Return the health of all services, and the samples by RPC."""
    return pb.GetMeshResponse(
        services=[
            console_pb2.ServiceHealth(
                name=name,
                healthy=healthy,
                replicas=[replica(found, share) for found, share in mesh.replicas if found.service == name],
            )
            for name, healthy in mesh.healthy.items()
        ],
        sample_times=[timestamp(sample.time) for sample in mesh.samples],
        methods=_series(mesh.samples),
    )


def replica(model: ReplicaCounts, cpu_share: float) -> console_pb2.Replica:
    """Return the message of a replica."""
    if not model.answers:
        return console_pb2.Replica(number=model.number)
    return console_pb2.Replica(
        number=model.number,
        answers=True,
        version=model.version,
        start_time=timestamp(datetime.fromtimestamp(model.start_time, UTC)),
        memory_bytes=int(model.memory_bytes),
        cpu_share=round(cpu_share, DIGITS),
    )


def _series(samples: Sequence[Sample]) -> list[console_pb2.MethodSeries]:
    methods = sorted({method for sample in samples for method in sample.methods})
    return [_one_series(method, [sample.methods.get(method) for sample in samples]) for method in methods]


def _one_series(method: str, values: Iterable[MethodRates | None]) -> console_pb2.MethodSeries:
    rows = [_values(rates) if rates else NOTHING for rates in values]
    calls, errors, p50, p99 = zip(*rows, strict=True)
    return console_pb2.MethodSeries(
        method=method, calls_per_second=calls, errors_per_second=errors, p50_seconds=p50, p99_seconds=p99
    )


def _values(rates: MethodRates) -> tuple[float, ...]:
    values = rates.calls_per_second, rates.errors_per_second, rates.p50_seconds, rates.p99_seconds
    return tuple(round(value, DIGITS) for value in values)


def list_traces_response(traces: Iterable[Trace], *, otlp_endpoint: str) -> pb.ListTracesResponse:
    """Return traces without their spans."""
    return pb.ListTracesResponse(traces=map(trace, traces), otlp_endpoint=otlp_endpoint)


def get_trace_response(model: Trace) -> pb.GetTraceResponse:
    """Return a trace with its spans."""
    return pb.GetTraceResponse(trace=trace(model), spans=map(span, model.spans))


def trace(model: Trace) -> console_pb2.Trace:
    """Return the message of a trace."""
    request, served = model.request, model.served
    status = request.attributes.get("http.status_code", "")
    return console_pb2.Trace(
        trace_id=request.trace_id,
        method=served.name if served else "",
        http_method=request.attributes.get("http.method", ""),
        path=request.path,
        http_status=int(status) if status.isdecimal() else 0,
        status=served.attributes.get("rpc.response.status_code", "") if served else "",
        reason=served.attributes.get("azora.error.reason", "") if served else "",
        start_time=_time(request.start_nanoseconds),
        duration=_duration(request.duration_nanoseconds),
        services=model.services,
        span_count=len(model.spans),
        failed=model.failed,
    )


def span(model: Span) -> console_pb2.Span:
    """Return the message of a span."""
    return console_pb2.Span(
        span_id=model.span_id,
        parent_span_id=model.parent_span_id,
        service=model.service,
        name=model.name,
        kind="server" if model.is_server else "client",
        start_time=_time(model.start_nanoseconds),
        duration=_duration(model.duration_nanoseconds),
        failed=model.failed,
        attributes=model.attributes,
    )


def list_policies_response(contract: Contract, tiers: Iterable[Tier]) -> pb.ListPoliciesResponse:
    """Return the policies of all RPCs of the contract, and the limits of the tiers."""
    policies = contract.policies
    return pb.ListPoliciesResponse(
        policies=[
            rpc_policy(method, policies[f"/{service.full_name}/{method.name}"])
            for service in contract.declared
            for method in service.methods
        ],
        rate_tiers=[
            console_pb2.RateTierLimits(name=tier.name, per_address=tier.per_address, per_user=tier.per_user)
            for tier in tiers
        ],
    )


def rpc_policy(method: MethodDescriptor, policy: MethodPolicy) -> console_pb2.RpcPolicy:
    """Return the message of an RPC's policy."""
    return console_pb2.RpcPolicy(
        method=policy.path[1:],
        http_route=http_route(method),
        callers=callers(policy),
        rate_tier=policy.tier.name if policy.tier else "",
        priority=policy.priority.name,
        timeout=_duration(int(policy.timeout_seconds * NANOSECONDS)),
        retry_safe=policy.retry_safe,
        requires_fresh_sessions=policy.requires_fresh_sessions,
        api_key_scope="" if policy.internal or policy.interactive else policy.scope,
        idempotency_key=policy.takes_idempotency_key,
    )


def list_background_work_response(
    services: Sequence[BackgroundWork], unreachable: Sequence[str]
) -> pb.ListBackgroundWorkResponse:
    """Return the background work of all services."""
    return pb.ListBackgroundWorkResponse(services=map(background_work, services), unreachable=unreachable)


def _time(nanoseconds: int) -> Timestamp:
    return Timestamp(seconds=nanoseconds // NANOSECONDS, nanos=nanoseconds % NANOSECONDS)


def _duration(nanoseconds: int) -> Duration:
    return Duration(seconds=nanoseconds // NANOSECONDS, nanos=nanoseconds % NANOSECONDS)
