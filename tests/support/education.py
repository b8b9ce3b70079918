"""A running Education for tests: its real server on a unix socket, a database of its own, and a Payment in memory."""

from __future__ import annotations

import asyncio
import base64
import os
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from azora.client import Metadata, bearer
from azora.education.v1 import (
    certificate_service_pb2_grpc,
    course_pb2,
    course_service_pb2,
    course_service_pb2_grpc,
    credential_service_pb2_grpc,
    enrollment_pb2,
    enrollment_service_pb2,
    enrollment_service_pb2_grpc,
    internal_service_pb2,
    internal_service_pb2_grpc,
)
from azora.event.v1 import event_pb2
from azora.payment.v1 import events_pb2
from azora.type.v1 import money_pb2

from services.education.app import Container, assemble, build
from services.education.enrollments.model import SettleEnrollment
from services.education.ports import Captured
from services.education.settings import EducationSettings
from services.shared.errors import DependencyUnavailable, Refused
from services.shared.ids import new_id
from tests.support.serving import Signer, channel_to, short_folder
from tests.support.sql import run_sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import timedelta

    import asyncpg
    from google.protobuf.message import Message
    from grpc import aio

    from services.education.ports import Payments
    from services.shared.money import Money

PAYMENT: Metadata = (("x-forwarded-client-cert", "URI=spiffe://azora.local/ns/default/sa/payment"),)
"""What the gateway adds to a call of Payment's."""


@dataclass(slots=True)
class FakeHold:
    """Money set aside."""

    user_id: str
    amount: Money
    course_id: str
    state: str = "ACTIVE"


@dataclass(slots=True)
class FakePayments:
    """Payment in memory: keys have one effect, and calls can be made to fail before or after it, by method name."""

    silent: set[str] = field(default_factory=set)
    """Calls that do not reach Payment."""
    lost: set[str] = field(default_factory=set)
    """Calls whose answer does not come back."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is clear, answers to `hold` are on their way."""
    refused: dict[str, str] = field(default_factory=dict)
    """Reasons for which nothing can be held in a user's wallet."""
    funds: dict[str, int] = field(default_factory=dict)
    """What a user has; enough, where nothing is said."""
    short: dict[str, Money] = field(default_factory=dict)
    """What was captured of a user's, where that is not all that was held."""
    holds: dict[str, FakeHold] = field(default_factory=dict)
    paid: dict[str, FakeHold] = field(default_factory=dict)
    earned: dict[str, tuple[str, int]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    _answers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.gate.set()

    async def hold(
        self, *, key: str, user_id: str, amount: Money, description: str, course_id: str, lifetime: timedelta
    ) -> str:
        """Set money aside."""
        self._reached("hold")
        assert description
        assert lifetime
        if key not in self._answers:
            if user_id in self.refused:
                raise Refused(self.refused[user_id], "FAILED_PRECONDITION")
            left = self.funds.get(user_id, amount.amount_minor)
            if left < amount.amount_minor:
                raise Refused("INSUFFICIENT_FUNDS", "FAILED_PRECONDITION")
            if user_id in self.funds:
                self.funds[user_id] -= amount.amount_minor
            self._answers[key] = new_id()
            self.holds[self._answers[key]] = FakeHold(user_id, amount, course_id)
        await self.gate.wait()
        return self._answered("hold", self._answers[key])

    async def capture(self, *, key: str, user_id: str, hold_id: str) -> Captured:
        """Take a hold."""
        self._reached("capture")
        if key not in self._answers:
            hold = self.holds[hold_id]
            assert hold.user_id == user_id
            if hold.state != "ACTIVE":
                raise Refused("HOLD_EXPIRED", "FAILED_PRECONDITION")
            hold.state = "CAPTURED"
            self._answers[key] = new_id()
            self.paid[self._answers[key]] = hold
        payment_id = self._answered("capture", self._answers[key])
        return Captured(payment_id, self.short.get(user_id, self.paid[payment_id].amount))

    async def release(self, *, key: str, user_id: str, hold_id: str) -> None:
        """Give a hold back."""
        self._reached("release")
        assert key
        hold = self.holds[hold_id]
        assert hold.user_id == user_id
        if hold.state == "CAPTURED":
            raise Refused("HOLD_NOT_ACTIVE", "FAILED_PRECONDITION")
        if hold.state == "ACTIVE":
            hold.state = "RELEASED"
            if user_id in self.funds:
                self.funds[user_id] += hold.amount.amount_minor
        self._answered("release", hold_id)

    async def earn(self, *, reference: str, user_id: str, amount: Money, description: str) -> None:
        """Issue tokens."""
        self._reached("earn")
        assert description
        self.earned[reference] = (user_id, amount.amount_minor)

    def states(self) -> list[str]:
        """Return the states of all holds, oldest first."""
        return [hold.state for hold in self.holds.values()]

    def _reached(self, method: str) -> None:
        self.calls[method] += 1
        if method in self.silent:
            raise DependencyUnavailable

    def _answered(self, method: str, answer: str) -> str:
        if method in self.lost:
            raise DependencyUnavailable
        return answer


@dataclass(frozen=True, slots=True)
class Person:
    """A person and what they do with courses."""

    id: str
    metadata: Metadata
    education: RunningEducation

    async def write(self, **changes: Any) -> course_pb2.Course:
        """Write a draft: three required lessons in two modules and an optional one, unless `changes` say otherwise."""
        fields: dict[str, Any] = {"title": "Sourdough", "description": "Bread.", "modules": MODULES}
        request = course_service_pb2.CreateCourseRequest(**fields | changes)
        return (await self.education.courses.CreateCourse(request, metadata=self.metadata)).course

    async def publish(self, course_id: str, etag: str = "") -> course_pb2.Course:
        """Publish a course."""
        request = course_service_pb2.PublishCourseRequest(course_id=course_id, etag=etag)
        return (await self.education.courses.PublishCourse(request, metadata=self.metadata)).course

    async def published(self, **changes: Any) -> course_pb2.Course:
        """Write and publish a course."""
        return await self.publish((await self.write(**changes)).id)

    async def read(
        self,
        course_id: str,
        *,
        revision: int = 0,
        view: course_pb2.CourseView.ValueType = course_pb2.COURSE_VIEW_UNSPECIFIED,
    ) -> course_pb2.Course:
        """Read a course."""
        request = course_service_pb2.GetCourseRequest(course_id=course_id, revision=revision, view=view)
        return (await self.education.courses.GetCourse(request, metadata=self.metadata)).course

    async def list(
        self, *, page_size: int = 0, page_token: str = "", mine: bool = False, **filters: Any
    ) -> course_service_pb2.ListCoursesResponse:
        """List courses."""
        request = course_service_pb2.ListCoursesRequest(
            page_size=page_size, page_token=page_token, mine=mine, **filters
        )
        return await self.education.courses.ListCourses(request, metadata=self.metadata)

    async def enroll(
        self, course_id: str, *, key: str = "", expected_price: money_pb2.Money | None = None
    ) -> enrollment_pb2.Enrollment:
        """Enrol."""
        request = enrollment_service_pb2.EnrollRequest(
            course_id=course_id, request_id=key, expected_price=expected_price
        )
        return (await self.education.enrollments.Enroll(request, metadata=self.metadata)).enrollment

    async def enrollment(self, enrollment_id: str) -> enrollment_pb2.Enrollment:
        """Read an enrolment."""
        request = enrollment_service_pb2.GetEnrollmentRequest(enrollment_id=enrollment_id)
        return (await self.education.enrollments.GetEnrollment(request, metadata=self.metadata)).enrollment

    async def enrolled(
        self, *, page_size: int = 0, page_token: str = ""
    ) -> enrollment_service_pb2.ListEnrollmentsResponse:
        """List enrolments."""
        request = enrollment_service_pb2.ListEnrollmentsRequest(page_size=page_size, page_token=page_token)
        return await self.education.enrollments.ListEnrollments(request, metadata=self.metadata)

    async def cancel(self, enrollment_id: str, *, key: str = "") -> enrollment_pb2.Enrollment:
        """Cancel an enrolment."""
        request = enrollment_service_pb2.CancelEnrollmentRequest(enrollment_id=enrollment_id, request_id=key)
        return (await self.education.enrollments.CancelEnrollment(request, metadata=self.metadata)).enrollment

    async def complete(self, enrollment_id: str, lesson_id: str, *, key: str = "") -> enrollment_pb2.Enrollment:
        """Complete a lesson."""
        request = enrollment_service_pb2.CompleteLessonRequest(
            enrollment_id=enrollment_id, lesson_id=lesson_id, request_id=key
        )
        return (await self.education.enrollments.CompleteLesson(request, metadata=self.metadata)).enrollment

    async def progress(self, enrollment_id: str) -> enrollment_service_pb2.GetProgressResponse:
        """Read how far an enrolment is."""
        request = enrollment_service_pb2.GetProgressRequest(enrollment_id=enrollment_id)
        return await self.education.enrollments.GetProgress(request, metadata=self.metadata)


@dataclass(frozen=True, slots=True)
class RunningEducation:
    """Its stubs, the Payment it calls, a second replica's parts, and its database under the eyes of either role."""

    target: str
    channel: aio.Channel
    signer: Signer
    payments: FakePayments
    replica: Container
    app_url: str
    owner_url: str

    @property
    def courses(self) -> course_service_pb2_grpc.CourseServiceAsyncStub:
        """Return the stub of CourseService."""
        return course_service_pb2_grpc.CourseServiceStub(self.channel)

    @property
    def enrollments(self) -> enrollment_service_pb2_grpc.EnrollmentServiceAsyncStub:
        """Return the stub of EnrollmentService."""
        return enrollment_service_pb2_grpc.EnrollmentServiceStub(self.channel)

    @property
    def certificates(self) -> certificate_service_pb2_grpc.CertificateServiceAsyncStub:
        """Return the stub of CertificateService."""
        return certificate_service_pb2_grpc.CertificateServiceStub(self.channel)

    @property
    def credentials(self) -> credential_service_pb2_grpc.CredentialServiceAsyncStub:
        """Return the stub of CredentialService."""
        return credential_service_pb2_grpc.CredentialServiceStub(self.channel)

    @property
    def internal(self) -> internal_service_pb2_grpc.InternalServiceAsyncStub:
        """Return the stub of InternalService."""
        return internal_service_pb2_grpc.InternalServiceStub(self.channel)

    def person(self, role: str = "ROLE_STUDENT", *, user_id: str = "") -> Person:
        """Return a new person, or the one of this id in another role."""
        user_id = user_id or new_id()
        return Person(user_id, bearer(self.signer.token(user_id, role)), self)

    def educator(self) -> Person:
        """Return a new educator."""
        return self.person("ROLE_EDUCATOR")

    def admin(self) -> Person:
        """Return a new administrator."""
        return self.person("ROLE_ADMIN")

    def anyone(self) -> Person:
        """Return someone who is not signed in."""
        return Person("", (), self)

    async def tell(self, *refunds: tuple[str, bool], event_id: str = "", metadata: Metadata = PAYMENT) -> None:
        """Tell of refunds as Payment does: each a payment and whether nothing of it is left."""
        messages = [
            events_pb2.PaymentRefunded(payment_id=payment_id, in_full=in_full) for payment_id, in_full in refunds
        ]
        results = await self.receive(*(event(message, event_id) for message in messages), metadata=metadata)
        assert [result.HasField("refusal") for result in results] == [False] * len(refunds), results

    async def receive(self, *events: event_pb2.Event, metadata: Metadata = PAYMENT) -> Sequence[event_pb2.Result]:
        """Deliver events as Payment does, and return the results."""
        request = internal_service_pb2.ReceiveEventsRequest(events=events)
        return (await self.internal.ReceiveEvents(request, metadata=metadata)).results

    async def close(
        self, payment_id: str, *, refund_id: str = "", by_payer: bool = True, metadata: Metadata = PAYMENT
    ) -> None:
        """Close what a payment bought, as Payment does before a refund."""
        request = internal_service_pb2.CloseEnrollmentRequest(
            payment_id=payment_id, refund_id=refund_id or new_id(), by_payer=by_payer
        )
        await self.internal.CloseEnrollment(request, metadata=metadata)

    async def recover(self, user_id: str) -> None:
        """Do what the recovery job of the person's only enrolment does."""
        (row,) = await self.sql("SELECT id, attempt FROM enrollments WHERE user_id = $1", user_id)
        await self.replica.settlements.settle_enrollment(SettleEnrollment(str(row["id"]), row["attempt"]))

    async def state(self, user_id: str) -> str:
        """Return the state of the person's only enrolment."""
        (row,) = await self.sql("SELECT state FROM enrollments WHERE user_id = $1", user_id)
        return str(row["state"])

    async def sql(self, statement: str, *arguments: object, app: bool = False) -> list[asyncpg.Record]:
        """Run a statement as the database's owner, or as the running service does."""
        return await run_sql(self.app_url if app else self.owner_url, statement, *arguments)


MODULES = [
    course_service_pb2.NewModule(
        title="Flour and water",
        lessons=[
            course_service_pb2.NewLesson(title="Flour", content="Rye has much bran."),
            course_service_pb2.NewLesson(title="Water", content="Warm, not hot."),
        ],
    ),
    course_service_pb2.NewModule(
        title="Fire",
        lessons=[
            course_service_pb2.NewLesson(title="Baking", content="Hot.", kind=course_pb2.LESSON_KIND_VIDEO),
            course_service_pb2.NewLesson(title="Ovens", content="Old ones.", required=False),
        ],
    ),
]


def event(message: Message, event_id: str = "") -> event_pb2.Event:
    """Return a message in the envelope of an event."""
    enveloped = event_pb2.Event(id=event_id or new_id())
    enveloped.occur_time.GetCurrentTime()
    enveloped.what.Pack(message)
    return enveloped


def azr(minor_units: int) -> money_pb2.Money:
    """Return an amount of AZR."""
    return money_pb2.Money(minor_units=minor_units, currency="AZR")


def lesson_ids(course: course_pb2.Course) -> list[str]:
    """Return the ids of a course's lessons, in order."""
    return [lesson.id for module in course.modules for lesson in module.lessons]


@asynccontextmanager
async def running_education(
    app_url: str, owner_url: str, *, through: Payments | None = None, signer: Signer | None = None, **changes: Any
) -> AsyncIterator[RunningEducation]:
    """Serve Education on a database, without limits; give its stubs. `changes` replace settings.

    It calls Payment `through` the given port, or a Payment in memory.
    """
    async with short_folder() as folder:
        values: dict[str, Any] = {
            "env": "development",
            "listen": f"unix:{folder}/education.sock",
            "mesh_target": f"unix:{folder}/mesh.sock",
            "database_url": app_url,
            "secret_key": base64.b64encode(os.urandom(32)).decode(),
            "rate_limit_scale": 10_000,
            "drain_seconds": 0,
            "settle_after_seconds": 600,
        }
        signer, payments = signer or Signer(), FakePayments()
        settings = EducationSettings(**values | changes)
        server = build(settings, keys=signer, revocations=signer, payments=through or payments)
        replica = assemble(settings, payments=through or payments)
        await server.start()
        try:
            async with channel_to(settings.listen) as channel:
                yield RunningEducation(settings.listen, channel, signer, payments, replica, app_url, owner_url)
        finally:
            await server.stop()
            await replica.infrastructure.close()
