"""Education's composition root: `python -m services.education` serves, `... migrate` migrates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from azora import client
from azora.education.v1 import (
    course_service_pb2,
    course_service_pb2_grpc,
    enrollment_service_pb2,
    enrollment_service_pb2_grpc,
    internal_service_pb2,
    internal_service_pb2_grpc,
)

from interceptors import chain
from interceptors.rate_limit import Limiter
from services.education.clients import PaymentClient
from services.education.courses.operations import CourseOperations
from services.education.courses.servicer import CourseServicer
from services.education.courses.store import CourseStore
from services.education.enrollments import jobs as enrollment_jobs
from services.education.enrollments.operations import EnrollmentOperations
from services.education.enrollments.servicer import EnrollmentServicer
from services.education.enrollments.store import EnrollmentStore
from services.education.internal.servicer import InternalServicer
from services.education.settings import EducationSettings
from services.education.settlements import jobs as settlement_jobs
from services.education.settlements import store as settlement_store
from services.education.settlements.operations import SettlementOperations
from services.education.settlements.store import SettlementStore
from services.shared import idempotency, inbox, retention
from services.shared.db import Database
from services.shared.idempotency import IdempotencyRecords
from services.shared.inbox import Inbox
from services.shared.jobs import Worker
from services.shared.pagination import PageTokens
from services.shared.policy import role_permissions
from services.shared.server import Served, Server, connect_to_mesh, main
from services.shared.tokens import AccessTokens, RemoteKeys

if TYPE_CHECKING:
    from services.education.ports import Payments
    from services.shared.tokens import KeySource

COURSES = course_service_pb2.DESCRIPTOR.services_by_name["CourseService"]
ENROLLMENTS = enrollment_service_pb2.DESCRIPTOR.services_by_name["EnrollmentService"]
INTERNAL = internal_service_pb2.DESCRIPTOR.services_by_name["InternalService"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What Education is made of, under its servicers."""

    database: Database
    records: IdempotencyRecords
    courses: CourseOperations
    enrollments: EnrollmentOperations
    settlements: SettlementOperations
    inbox: Inbox


def assemble(settings: EducationSettings, payments: Payments) -> Parts:
    """Return the parts, put together as the settings say."""
    database = Database(settings.database_url.get_secret_value(), pool_size=settings.database_pool_size)
    records = IdempotencyRecords(database)
    pages = PageTokens(settings.derive_key("page-tokens"))
    course_store, enrollment_store = CourseStore(), EnrollmentStore()
    settlements = SettlementOperations(
        database=database,
        store=enrollment_store,
        refunds=SettlementStore(),
        payments=payments,
        refund_limit_basis_points=settings.refund_progress_limit_basis_points,
    )
    return Parts(
        database=database,
        records=records,
        courses=CourseOperations(database, course_store, pages),
        enrollments=EnrollmentOperations(
            database=database,
            records=records,
            store=enrollment_store,
            courses=course_store,
            settlements=settlements,
            payments=payments,
            pages=pages,
            settle_after=timedelta(seconds=settings.settle_after_seconds),
            refund_limit_basis_points=settings.refund_progress_limit_basis_points,
        ),
        settlements=settlements,
        inbox=Inbox("education", database, settlement_jobs.subscriptions(settlements)),
    )


def build(settings: EducationSettings, *, keys: KeySource | None = None, payments: Payments | None = None) -> Server:
    """Return the server of Education. Tests give the keys that tokens are signed with, and a Payments."""
    mesh = connect_to_mesh(settings)
    parts = assemble(settings, payments or PaymentClient(mesh))
    event_retention = timedelta(days=settings.event_retention_days)
    expiry = retention.expiry(
        parts.database,
        [
            idempotency.retention(timedelta(hours=settings.idempotency_retention_hours)),
            inbox.retention(event_retention),
            settlement_store.retention(event_retention),
            *retention.job_log(timedelta(days=settings.job_log_retention_days)),
        ],
    )
    worker = Worker(
        settings.database_url.get_secret_value(),
        [*enrollment_jobs.jobs(parts.enrollments), *settlement_jobs.jobs(parts.settlements)],
        [expiry, *settlement_jobs.periodic(parts.settlements)],
    )
    verifier = AccessTokens(
        keys or RemoteKeys(partial(client.signing_keys, mesh)),
        issuer=settings.issuer,
        audience=settings.audience,
        permissions=role_permissions(),
    )
    limiter = Limiter(scale=settings.rate_limit_scale, redis_url=settings.counters_url)
    return Server(
        settings=settings,
        guard=partial(chain, verifier=verifier, limiter=limiter),
        services=_served(parts),
        ready=parts.database.ready,
        background=[worker.run],
        close=[limiter.close, parts.database.close, mesh.close],
    )


def _served(parts: Parts) -> list[Served]:
    return [
        Served(COURSES, CourseServicer(parts.courses), course_service_pb2_grpc.add_CourseServiceServicer_to_server),
        Served(
            ENROLLMENTS,
            EnrollmentServicer(parts.enrollments),
            enrollment_service_pb2_grpc.add_EnrollmentServiceServicer_to_server,
        ),
        Served(
            INTERNAL, InternalServicer(parts.inbox), internal_service_pb2_grpc.add_InternalServiceServicer_to_server
        ),
    ]


if __name__ == "__main__":
    main("education", EducationSettings, build)
