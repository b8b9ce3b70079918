"""What every service is built on, put together in one place: database, mesh, jobs, events, interceptors, server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from azora import client

from interceptors import chain
from interceptors.client import OutgoingCalls
from interceptors.rate_limit import Limiter
from services.shared import idempotency, inbox, retention
from services.shared.db import Database
from services.shared.idempotency import IdempotencyRecords
from services.shared.jobs import Worker
from services.shared.outbox import deliveries, over_mesh
from services.shared.pagination import PageTokens
from services.shared.policy import compile_policies, role_permissions
from services.shared.server import Registration, Server, connect_to_mesh
from services.shared.settings import ServiceSettings
from services.shared.tokens import AccessTokens, RemoteKeys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from grpc import aio

    from services.shared.errors import DomainError
    from services.shared.jobs import Job, Periodic
    from services.shared.outbox import Outbox, Send
    from services.shared.retention import Retention
    from services.shared.tokens import KeySource

Settings = TypeVar("Settings", bound=ServiceSettings)


@dataclass(frozen=True)
class Infrastructure(Generic[Settings]):
    """What a service's operations are given, before there is a server."""

    settings: Settings
    database: Database
    records: IdempotencyRecords
    pages: PageTokens

    @cached_property
    def mesh(self) -> aio.Channel:
        """The channel to the other services, made when it is first asked for: not all that runs calls others."""
        return connect_to_mesh(self.settings, [OutgoingCalls()])

    @classmethod
    def of(
        cls, settings: Settings, *, constraints: Mapping[str, type[DomainError]] | None = None
    ) -> Infrastructure[Settings]:
        """Return the infrastructure that the settings describe; it connects when it is first used.

        `constraints` names the domain error behind a violated constraint, as in `Database`.
        """
        database = Database(
            settings.database_url.get_secret_value(), pool_size=settings.database_pool_size, constraints=constraints
        )
        return cls(
            settings=settings,
            database=database,
            records=IdempotencyRecords(database),
            pages=PageTokens(settings.derive_key("page-tokens")),
        )

    def server(
        self,
        *servicers: object,
        jobs: Sequence[Job[Any]] = (),
        periodic: Sequence[Periodic] = (),
        retentions: Sequence[Retention] = (),
        outbox: Outbox | None = None,
        send: Send | None = None,
        keys: KeySource | None = None,
        ready: Callable[[], Awaitable[bool]] | None = None,
        close: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> Server:
        """Return the service's server.

        `servicers` are instances of generated servicers' subclasses. `retentions` add to those of the shared tables.
        The events of `outbox` are delivered over the mesh, or by `send`. `keys` verify access tokens; Auth's, over the
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
        limiter = Limiter(scale=self.settings.rate_limit_scale, redis_url=self.settings.counters_url)
        expiry = retention.expiry(self.database, [*self._retentions(registrations), *retentions])
        worker = Worker(self.settings.database_url.get_secret_value(), jobs, [*periodic, expiry])
        delivering = deliveries(self.database, outbox, send or over_mesh(self.mesh)) if outbox else []
        return Server(
            settings=self.settings,
            interceptor=partial(chain, verifier=verifier, limiter=limiter),
            services=registrations,
            ready=ready or self.database.ready,
            background=[worker.run, *delivering],
            close=[limiter.close, *close, self.close],
        )

    async def close(self) -> None:
        """Close all connections."""
        await self.database.close()
        if "mesh" in vars(self):
            await self.mesh.close()

    def _retentions(self, registrations: Sequence[Registration]) -> list[Retention]:
        """Return the retentions of the tables that the shared code writes."""
        settings = self.settings
        policies = compile_policies(registration.descriptor for registration in registrations)
        keyed = any(policy.takes_idempotency_key for policy in policies.values())
        return [
            *retention.job_log(timedelta(days=settings.job_log_retention_days)),
            inbox.retention(timedelta(days=settings.event_retention_days)),
            *([idempotency.retention(timedelta(hours=settings.idempotency_retention_hours))] if keyed else []),
        ]
