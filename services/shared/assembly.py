"""What every service is built on, put together in one place: database, mesh, jobs, interceptors, server."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Generic, TypeVar

from azora import client

from interceptors import chain
from interceptors.client import OutgoingCalls
from interceptors.rate_limit import Limiter
from services.shared.db import Database
from services.shared.idempotency import IdempotencyRecords
from services.shared.jobs import Worker
from services.shared.metrics import ProcessMetrics
from services.shared.pagination import PageTokens
from services.shared.policy import compile_policies, role_permissions
from services.shared.server import Registration, Server, connect_to_mesh
from services.shared.settings import ServiceSettings
from services.shared.telemetry import tracer
from services.shared.tokens import AccessTokens, RemoteKeys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
    from typing import Any

    from grpc import aio
    from opentelemetry.trace import Tracer

    from services.shared.errors import DomainError
    from services.shared.jobs import Payload
    from services.shared.tokens import KeySource

Settings = TypeVar("Settings", bound=ServiceSettings)


@dataclass(frozen=True)
class Infrastructure(Generic[Settings]):
    """What a service's operations are given, before there is a server."""

    settings: Settings
    database: Database
    records: IdempotencyRecords
    pages: PageTokens
    metrics: ProcessMetrics
    tracer: Tracer | None
    """Makes spans; None where they are not exported."""

    @cached_property
    def mesh(self) -> aio.Channel:
        """The channel to the other services, made when it is first asked for: not all that runs calls others."""
        return connect_to_mesh(self.settings, [OutgoingCalls(tracer=self.tracer)])

    @classmethod
    def of(
        cls, settings: Settings, *, constraints: Mapping[str, type[DomainError]] | None = None
    ) -> Infrastructure[Settings]:
        """Return the infrastructure that the settings describe; it connects when it is first used.

        `constraints` names the domain error behind a violated constraint, as in `Database`.
        """
        traces = tracer()
        database = Database(
            settings.database_url.get_secret_value(),
            pool_size=settings.database_pool_size,
            constraints=constraints,
            tracer=traces,
        )
        return cls(
            settings=settings,
            database=database,
            records=IdempotencyRecords(database),
            pages=PageTokens(settings.derive_key("page-tokens")),
            metrics=_metrics(database),
            tracer=traces,
        )

    def server(
        self,
        *servicers: object,
        jobs: Mapping[str, Callable[[Payload], Awaitable[None]]] | None = None,
        keys: KeySource | None = None,
        ready: Callable[[], Awaitable[bool]] | None = None,
        close: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> Server:
        """Return the service's server.

        `servicers` are instances of generated servicers' subclasses. `keys` verify access tokens; Auth's, over the
        mesh, unless given. `ready` says whether the service can work; its database answers, unless given. `close` is
        awaited after the last call and before the infrastructure is closed.
        """
        registrations = [Registration.of(servicer) for servicer in servicers]
        verifier = AccessTokens(
            keys or RemoteKeys(partial(client.signing_keys, self.mesh)),
            issuer=self.settings.issuer,
            audience=self.settings.audience,
            permissions=role_permissions(),
        )
        registry = self.metrics.registry
        limiter = Limiter(scale=self.settings.rate_limit_scale, redis_url=self.settings.counters_url, registry=registry)
        return Server(
            settings=self.settings,
            interceptor=partial(chain, verifier=verifier, limiter=limiter, registry=registry, tracer=self.tracer),
            services=registrations,
            ready=ready or self.database.ready,
            background=self._background(registrations, jobs or {}),
            close=[limiter.close, *close, self.close],
            metrics=self.metrics.text,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self.database.close()
        if "mesh" in vars(self):
            await self.mesh.close()

    def _background(
        self, registrations: Sequence[Registration], jobs: Mapping[str, Callable[[Payload], Awaitable[None]]]
    ) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        background: list[Callable[[], Coroutine[Any, Any, None]]] = []
        if jobs:
            background.append(Worker(self.settings.database_url.get_secret_value(), jobs).run)
        policies = compile_policies(registration.descriptor for registration in registrations)
        if any(policy.takes_idempotency_key for policy in policies.values()):
            background.append(self.records.keep_expiring)
        return background


def _metrics(database: Database) -> ProcessMetrics:
    metrics = ProcessMetrics()
    metrics.gauge("azora_database_connections_in_use", "Connections in use.", lambda: database.connections_in_use)
    metrics.gauge(
        "azora_database_waiting", "Transactions and reads waiting for a connection.", lambda: database.work_waiting
    )
    return metrics
