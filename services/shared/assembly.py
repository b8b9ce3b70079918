"""The infrastructure of every service: database, mesh channel, jobs, events, interceptors, server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from azora import client
from prometheus_client import Counter

from interceptors import chain
from interceptors.client import OutgoingCalls, OutgoingStreams
from interceptors.rate_limit import Limiter
from services.shared import idempotency, inbox, retention
from services.shared.audit.denials import Denials
from services.shared.audit.operations import AuditOperations
from services.shared.audit.sealing import Sealing
from services.shared.audit.store import AuditStore
from services.shared.db import Database
from services.shared.dead_letters import BackgroundWorkOperations, backlog
from services.shared.errors import DomainError
from services.shared.idempotency import IdempotencyRecords
from services.shared.jobs import Worker
from services.shared.metrics import ProcessMetrics
from services.shared.outbox import deliveries, over_mesh
from services.shared.pagination import PageTokens
from services.shared.policy import compile_policies, role_permissions
from services.shared.rate_limits import effective_tiers
from services.shared.redis_server import RedisServer
from services.shared.retention import Retention
from services.shared.revocation_feed import RemoteRevocations, RevocationFeed
from services.shared.server import Registration, Server, connect_to_mesh
from services.shared.settings import ServiceSettings
from services.shared.telemetry import tracer
from services.shared.tokens import TOKEN_LIFE, AccessTokens, RemoteKeys, Revocations

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from grpc import aio
    from opentelemetry.trace import Tracer

    from services.shared.background_work import Backlog
    from services.shared.jobs import Job, Periodic
    from services.shared.outbox import Outbox, Send
    from services.shared.revocations import RevocationSource
    from services.shared.tokens import KeySource
    from services.shared.watching import Watchers

MAX_COUNTERS_CONNECTIONS = 32

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
        return connect_to_mesh(self.settings, [OutgoingCalls(tracer=self.tracer), OutgoingStreams(tracer=self.tracer)])

    @cached_property
    def audit_operations(self) -> AuditOperations:
        """The queries and the verification of the service's audit log."""
        return AuditOperations(database=self.database, store=AuditStore(), pages=self.pages)

    @cached_property
    def background_work(self) -> BackgroundWorkOperations:
        """The queries of the service's outbox and job queue."""
        return BackgroundWorkOperations(database=self.database)

    @classmethod
    def of(
        cls, settings: Settings, *, constraints: Mapping[str, type[DomainError]] | None = None
    ) -> Infrastructure[Settings]:
        """Return the infrastructure that the settings describe; it connects when it is first used.

        `constraints` names the domain error behind a violated constraint, as in `Database`.
        """
        traces, metrics = tracer(), ProcessMetrics()
        database = Database(
            settings.database_url.get_secret_value(),
            pool_size=settings.database_pool_size,
            constraints=constraints,
            tracer=traces,
            registry=metrics.registry,
        )
        _measure(database, metrics)
        return cls(
            settings=settings,
            database=database,
            records=IdempotencyRecords(database),
            pages=PageTokens(settings.derive_key("page-tokens")),
            metrics=metrics,
            tracer=traces,
        )

    def server(
        self,
        *servicers: object,
        jobs: Sequence[Job[Any]] = (),
        periodic: Sequence[Periodic] = (),
        retentions: Sequence[Retention] = (),
        background: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
        outbox: Outbox | None = None,
        send: Send | None = None,
        keys: KeySource | None = None,
        revocations: RevocationSource | None = None,
        ready: Callable[[], Awaitable[bool]] | None = None,
        watchers: Sequence[Watchers[Any, Any]] = (),
        close: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> Server:
        """Return the service's server.

        `servicers` are instances of generated servicers' subclasses. `retentions` add to those of the shared tables,
        `background` to the tasks that run for as long as the server does.
        The events of `outbox` are delivered over the mesh, or by `send`. `keys` verify access tokens, and `revocations`
        end them; Auth's, over the mesh, unless given. `ready` says whether the service can work; its database answers,
        unless given. `watchers` run beside the calls and end when the server drains. `close` is awaited after the last
        call and before the infrastructure is closed.
        """
        registrations = [Registration.of(servicer) for servicer in servicers]
        revoked = Revocations(TOKEN_LIFE.total_seconds())
        feed = RevocationFeed(revocations or RemoteRevocations(self.mesh), revoked)
        verifier = self._verifier(keys or self._remote_keys(), revoked, feed)
        registry = self.metrics.registry
        limiter = Limiter(
            scale=self.settings.rate_limit_scale,
            tiers=effective_tiers(self.settings.rate_limits),
            server=rate_limit_counters(counters) if (counters := self.settings.counters_url) else None,
            registry=registry,
        )
        denials = Denials(database=self.database)
        sealing = Sealing(database=self.database, store=AuditStore())
        expiry = retention.expiry(self.database, [*self._retentions(registrations), *retentions])
        url = self.settings.database_url.get_secret_value()
        worker = Worker(url, jobs, [*periodic, expiry], registry=registry)
        delivering = deliveries(self.database, outbox, send or over_mesh(self.mesh)) if outbox else []
        return Server(
            settings=self.settings,
            interceptor=partial(
                chain,
                verifier=verifier,
                limiter=limiter,
                max_concurrent_rpcs=self.settings.max_concurrent_rpcs,
                registry=registry,
                tracer=self.tracer,
                denied=denials.count,
            ),
            services=registrations,
            ready=partial(_ready, ready or self.database.ready, feed),
            background=[
                feed.run,
                self.database.watch,
                worker.run,
                denials.run,
                sealing.run,
                *delivering,
                *background,
                *(each.run for each in watchers),
            ],
            drain=[each.end for each in watchers],
            close=[limiter.close, *close, self.close],
            metrics=self.metrics.text,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self.database.close()
        if "mesh" in vars(self):
            await self.mesh.close()

    def _remote_keys(self) -> RemoteKeys:
        fetch = partial(client.signing_keys, self.mesh)
        return RemoteKeys(fetch, cache_seconds=self.settings.jwks_cache_seconds)

    def _verifier(self, keys: KeySource, revoked: Revocations, feed: RevocationFeed) -> AccessTokens:
        self.metrics.gauge(
            "azora_revocations_age_seconds", "Age of the known session revocations.", lambda: feed.age_seconds
        )
        return AccessTokens(
            keys,
            issuer=self.settings.public_url,
            audience=self.settings.audience,
            permissions=role_permissions(),
            revocations=revoked,
            freshness=feed,
            max_age_seconds=self.settings.fresh_sessions_seconds,
            stale=Counter(
                "azora_stale_session_checks",
                "Access tokens accepted while the latest revocations could not be read.",
                registry=self.metrics.registry,
            ),
        )

    def _retentions(self, registrations: Sequence[Registration]) -> list[Retention]:
        """Return the retentions of the tables that the shared code writes."""
        settings = self.settings
        policies = compile_policies(registration.descriptor for registration in registrations)
        keyed = any(policy.takes_idempotency_key for policy in policies.values())
        return [
            *retention.job_log(timedelta(days=settings.job_log_retention_days)),
            inbox.retention(timedelta(days=settings.event_retention_days)),
            Retention("audit_origins", "create_time", timedelta(days=settings.audit_origin_retention_days)),
            *([idempotency.retention(timedelta(hours=settings.idempotency_retention_hours))] if keyed else []),
        ]


def rate_limit_counters(url: str) -> RedisServer:
    """Return the server of the shared rate-limit counters. Raises ValueError for no Redis URL."""
    return RedisServer(
        url,
        lost="shared rate-limit counters do not answer",
        found="shared rate-limit counters answer again",
        max_connections=MAX_COUNTERS_CONNECTIONS,
    )


async def _ready(works: Callable[[], Awaitable[bool]], feed: RevocationFeed) -> bool:
    """Whether the service works; what was revoked is asked for before it first says so.

    It does not depend on the answer: without one, what is public is served all the same. So only the first check waits.
    """
    if not feed.tried:
        await feed.first()
    return await works()


def _measure(database: Database, metrics: ProcessMetrics) -> None:
    metrics.gauge("azora_database_connections_in_use", "Connections in use.", lambda: database.connections_in_use)
    metrics.gauge(
        "azora_database_waiting", "Transactions and reads waiting for a connection.", lambda: database.work_waiting
    )

    async def read_backlog() -> Backlog | None:
        try:
            async with database.reading() as connection:
                return await backlog(connection)
        except DomainError:
            return None  # The database does not answer; the other metrics do.

    jobs = {"due": "jobs", "deferred": "deferred_jobs", "failed": "failed_jobs"}
    events = {"due": "events", "dead": "dead_events"}
    metrics.gauges("azora_jobs", "Background jobs of the service, counted in its database.", jobs, read_backlog)
    metrics.gauges("azora_events", "Undelivered events of the service, by subscriber.", events, read_backlog)
