"""Education's composition root: everything is made here, once, and given to what needs it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from services.education.catalogue.operations import CatalogueOperations
from services.education.catalogue.store import CatalogueStore
from services.education.certificates.operations import CertificateOperations
from services.education.certificates.servicer import CertificateServicer
from services.education.certificates.store import CertificateStore
from services.education.clients import PaymentClient
from services.education.courses import jobs as course_jobs
from services.education.courses.authoring import AuthoringOperations
from services.education.courses.convert import ENCODING, encoded_bytes, encoded_modules
from services.education.courses.drafts import DraftStore
from services.education.courses.lessons import LessonOperations
from services.education.courses.operations import CourseOperations
from services.education.courses.servicer import CourseServicer
from services.education.courses.store import CourseStore
from services.education.credentials.model import Issuer
from services.education.credentials.operations import CredentialOperations
from services.education.credentials.servicer import CredentialServicer
from services.education.credentials.store import CredentialStore
from services.education.enrollments.operations import EnrollmentOperations
from services.education.enrollments.progress import ProgressStore
from services.education.enrollments.servicer import EnrollmentServicer
from services.education.enrollments.store import EnrollmentStore, retention
from services.education.learning import jobs as learning_jobs
from services.education.learning.operations import LearningOperations
from services.education.learning.servicer import LearningServicer
from services.education.learning.store import LearningStore
from services.education.people.store import PeopleStore
from services.education.quizzes import jobs as quiz_jobs
from services.education.quizzes.operations import QuizOperations
from services.education.quizzes.servicer import AssessmentServicer
from services.education.quizzes.store import QuizStore
from services.education.settlements import jobs as settlement_jobs
from services.education.settlements.internal_servicer import InternalServicer
from services.education.settlements.operations import SettlementOperations
from services.shared.assembly import Infrastructure
from services.shared.audit.store import AuditStore
from services.shared.cache import CachedReads, EncodedAnswers, ImmutableParts
from services.shared.encryption import Encryption
from services.shared.inbox import Inbox
from services.shared.keyed_answers import KeyedAnswers
from services.shared.personal_data import PersonOperations, UndeliveredEvents, UnfinishedJobs
from services.shared.redis_server import RedisServer
from services.shared.shared_cache import SharedCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.education.ports import Payments
    from services.education.settings import EducationSettings
    from services.shared.db import Database
    from services.shared.inbox import Subscription
    from services.shared.personal_data import PersonalData
    from services.shared.revocations import RevocationSource
    from services.shared.server import Server
    from services.shared.tokens import KeySource

MAX_CACHE_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Container:
    """Education's operations over their infrastructure."""

    infrastructure: Infrastructure[EducationSettings]
    courses: CourseOperations
    authoring: AuthoringOperations
    lessons: LessonOperations
    catalogue: CatalogueOperations
    learning: LearningOperations
    enrollments: EnrollmentOperations
    quizzes: QuizOperations
    certificates: CertificateOperations
    credentials: CredentialOperations
    settlements: SettlementOperations
    persons: PersonOperations
    inbox: Inbox
    shared_cache: SharedCache | None
    """Modules of revisions, for all processes."""


def assemble(settings: EducationSettings, *, payments: Payments | None = None) -> Container:
    """Return the operations. Tests give a Payments."""
    infrastructure = Infrastructure.of(settings)
    database = infrastructure.database
    course_store, enrollment_store, progress_store = CourseStore(), EnrollmentStore(), ProgressStore()
    quiz_store, certificate_store = QuizStore(), CertificateStore()
    credentials = _credentials(infrastructure)
    settlements = _settlements(infrastructure, course_store, enrollment_store, payments)
    shared = _shared_cache(settings)
    reads = CachedReads(database, EncodedAnswers(), course_store.find_generation)
    courses = CourseOperations(
        database=database,
        store=course_store,
        people=PeopleStore(),
        readers=progress_store,
        reads=reads,
        modules=ImmutableParts(shared),
        encoded_modules=encoded_modules,
    )
    authoring = AuthoringOperations(
        database=database,
        store=course_store,
        drafts=DraftStore(),
        pages=infrastructure.pages,
        reads=reads,
        encoded_modules=encoded_modules,
        encoded_bytes=encoded_bytes,
    )
    enrollments = EnrollmentOperations(
        database=database,
        records=infrastructure.records,
        store=enrollment_store,
        progress=progress_store,
        courses=course_store,
        settlements=settlements,
        quizzes=quiz_store,
        pages=infrastructure.pages,
        settle_after=timedelta(seconds=settings.settle_after_seconds),
        max_watchers=settings.max_watchers,
        max_watchers_per_user=settings.max_watchers_per_user,
    )
    return Container(
        infrastructure=infrastructure,
        courses=courses,
        authoring=authoring,
        lessons=LessonOperations(authoring),
        catalogue=CatalogueOperations(
            reads=reads,
            store=CatalogueStore(course_store),
            courses=course_store,
            pages=infrastructure.pages,
        ),
        learning=LearningOperations(
            database=database, store=LearningStore(), courses=course_store, enrollments=enrollment_store
        ),
        enrollments=enrollments,
        quizzes=_quizzes(infrastructure, quiz_store, course_store, enrollment_store, enrollments),
        certificates=CertificateOperations(
            database=database,
            store=certificate_store,
            courses=course_store,
            credentials=credentials,
            pages=infrastructure.pages,
        ),
        credentials=credentials,
        settlements=settlements,
        persons=_persons(database, settlements, [quiz_store, enrollment_store, certificate_store, courses]),
        inbox=Inbox("education", database, _subscriptions(settlements, courses)),
        shared_cache=shared,
    )


def _settlements(
    infrastructure: Infrastructure[EducationSettings],
    courses: CourseStore,
    enrollments: EnrollmentStore,
    payments: Payments | None,
) -> SettlementOperations:
    settings = infrastructure.settings
    return SettlementOperations(
        database=infrastructure.database,
        records=infrastructure.records,
        store=enrollments,
        courses=courses,
        payments=payments or PaymentClient(infrastructure.mesh),
        refund_limit_basis_points=settings.refund_progress_limit_basis_points,
        sweep_after=timedelta(seconds=settings.settle_after_seconds),
    )


def _quizzes(
    infrastructure: Infrastructure[EducationSettings],
    quizzes: QuizStore,
    courses: CourseStore,
    enrollments: EnrollmentStore,
    operations: EnrollmentOperations,
) -> QuizOperations:
    return QuizOperations(
        database=infrastructure.database,
        records=infrastructure.records,
        store=quizzes,
        courses=courses,
        enrollments=enrollments,
        enrollment_operations=operations,
        pages=infrastructure.pages,
    )


def _credentials(infrastructure: Infrastructure[EducationSettings]) -> CredentialOperations:
    settings = infrastructure.settings
    return CredentialOperations(
        database=infrastructure.database,
        store=CredentialStore(),
        encryption=Encryption(settings.derive_keys("credential-keys")),
        issuer=Issuer(settings.public_url, settings.issuer_name),
    )


def _persons(
    database: Database, settlements: SettlementOperations, resources: Sequence[PersonalData]
) -> PersonOperations:
    return PersonOperations(
        database=database,
        endings=[settlements.end_person],
        resources=[UnfinishedJobs(), UndeliveredEvents(), *resources, AuditStore(), KeyedAnswers()],
    )


def _subscriptions(settlements: SettlementOperations, courses: CourseOperations) -> Sequence[Subscription[Any, Any]]:
    return [*settlement_jobs.subscriptions(settlements), *course_jobs.subscriptions(courses)]


def _shared_cache(settings: EducationSettings) -> SharedCache | None:
    if not settings.counters_url:
        return None
    server = RedisServer(
        settings.counters_url,
        lost="shared cache does not answer",
        found="shared cache answers again",
        max_connections=MAX_CACHE_CONNECTIONS,
    )
    key = settings.derive_key("course-revisions")
    return SharedCache(server, namespace=f"course-revisions:{ENCODING}", key=key)


def build(
    settings: EducationSettings,
    *,
    keys: KeySource | None = None,
    revocations: RevocationSource | None = None,
    payments: Payments | None = None,
) -> Server:
    """Return Education's server. Tests give the keys of tokens, what revokes them, and a Payments."""
    container = assemble(settings, payments=payments)
    return container.infrastructure.server(
        CourseServicer(container.courses, container.catalogue, container.authoring, container.lessons),
        LearningServicer(container.learning),
        EnrollmentServicer(container.enrollments),
        AssessmentServicer(container.quizzes),
        CertificateServicer(container.certificates),
        CredentialServicer(container.credentials),
        InternalServicer(
            container.settlements,
            container.inbox,
            container.persons,
            container.infrastructure.audit_operations,
            container.infrastructure.background_work,
        ),
        jobs=[*settlement_jobs.jobs(container.settlements), *quiz_jobs.jobs(container.quizzes)],
        periodic=[*settlement_jobs.periodic(container.settlements), *learning_jobs.periodic(container.learning)],
        retentions=[retention(timedelta(days=settings.event_retention_days))],
        close=[container.shared_cache.close] if container.shared_cache else [],
        watchers=[container.enrollments.watchers],
        keys=keys,
        revocations=revocations,
    )
