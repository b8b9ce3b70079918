"""The console put together: who may read it, what it reads, what runs for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from azora import client

from interceptors import chain
from interceptors.client import OutgoingCalls
from interceptors.rate_limit import Limiter
from services.gateway.console import convert
from services.gateway.console.clients import BackgroundWorkClient
from services.gateway.console.operations import ConsoleOperations
from services.gateway.console.sampling import Sampler
from services.gateway.console.servicer import ConsoleServicer
from services.gateway.console.traces import Traces, receive
from services.shared.policy import role_permissions
from services.shared.rate_limits import effective_tiers
from services.shared.revocation_feed import RemoteRevocations, RevocationFeed
from services.shared.server import Registration, connect_to_mesh
from services.shared.telemetry import tracer
from services.shared.tokens import TOKEN_LIFE, AccessTokens, RemoteKeys, Revocations

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from interceptors.base import Chain
    from services.compiler.contract import Contract
    from services.gateway.health import MeshHealth
    from services.gateway.metrics import MetricsPage
    from services.gateway.settings import GatewaySettings
    from services.shared.metrics import ProcessMetrics
    from services.shared.policy import MethodPolicy


@dataclass(frozen=True, slots=True)
class Console:
    """What the gateway's server has of the console."""

    registration: Registration
    interceptor: Callable[[Mapping[str, MethodPolicy]], Chain]
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]]
    close: Sequence[Callable[[], Awaitable[None]]]


def assemble(
    settings: GatewaySettings, contract: Contract, health: MeshHealth, page: MetricsPage, metrics: ProcessMetrics
) -> Console:
    """Return the console. Access tokens are verified as in every service: Auth's keys and revocations, by the mesh."""
    mesh = connect_to_mesh(settings, [OutgoingCalls(tracer=tracer())])
    revoked = Revocations(TOKEN_LIFE.total_seconds())
    feed = RevocationFeed(RemoteRevocations(mesh), revoked)
    verifier = AccessTokens(
        RemoteKeys(partial(client.signing_keys, mesh), cache_seconds=settings.jwks_cache_seconds),
        issuer=settings.public_url,
        audience=settings.audience,
        permissions=role_permissions(),
        revocations=revoked,
        freshness=feed,
        max_age_seconds=settings.fresh_sessions_seconds,
    )
    tiers = effective_tiers(settings.rate_limits)
    limiter = Limiter(scale=settings.rate_limit_scale, tiers=tiers, registry=metrics.registry)
    streams = {path[1:] for path, policy in contract.policies.items() if policy.server_streaming}
    sampler, traces = Sampler(page.collect, streams), Traces()
    operations = ConsoleOperations(
        health=health,
        sampler=sampler,
        traces=traces,
        work=BackgroundWorkClient(mesh, contract.owners),
        otlp_endpoint="" if settings.traces_listen else settings.otlp_endpoint,
    )
    in_force = effective_tiers(settings.rate_limits, settings.rate_limit_scale).values()
    servicer = ConsoleServicer(operations, convert.list_policies_response(contract, in_force))
    receiving = [partial(receive, traces, settings.traces_listen)] if settings.traces_listen else []
    return Console(
        registration=Registration.of(servicer),
        interceptor=partial(
            chain,
            verifier=verifier,
            limiter=limiter,
            max_concurrent_rpcs=settings.max_concurrent_rpcs,
            registry=metrics.registry,
            tracer=tracer(),
        ),
        background=[feed.run, sampler.run, *receiving],
        close=[limiter.close, mesh.close],
    )
