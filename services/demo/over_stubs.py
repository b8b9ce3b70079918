"""The story's client as another service or a script has it: the typed gRPC stubs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import grpc
from azora import client
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from azora.education.v1 import (
    course_service_pb2,
    course_service_pb2_grpc,
    enrollment_pb2,
    enrollment_service_pb2,
    enrollment_service_pb2_grpc,
)
from azora.payment.v1 import (
    payment_service_pb2,
    payment_service_pb2_grpc,
    wallet_pb2,
    wallet_service_pb2,
    wallet_service_pb2_grpc,
)
from grpc import aio

from services.demo.learner import Course, Enrollment, Movement, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from services.local.public_port import PublicPort

Response = TypeVar("Response")


class StubLearner:
    """A learner over the typed stubs."""

    way = "typed gRPC stubs"

    def __init__(self, channel: aio.Channel) -> None:
        self._auth = auth_service_pb2_grpc.AuthServiceStub(channel)
        self._courses = course_service_pb2_grpc.CourseServiceStub(channel)
        self._enrollments = enrollment_service_pb2_grpc.EnrollmentServiceStub(channel)
        self._wallets = wallet_service_pb2_grpc.WalletServiceStub(channel)
        self._payments = payment_service_pb2_grpc.PaymentServiceStub(channel)
        self._signed_in: client.Metadata = ()

    @classmethod
    @asynccontextmanager
    async def connect(cls, port: PublicPort) -> AsyncIterator[StubLearner]:
        """Give a learner at the public port."""
        async with port.channel() as channel:
            yield cls(channel)

    async def register(self, email: str, password: str, name: str) -> None:
        """Make an account."""
        request = auth_service_pb2.RegisterRequest(email=email, password=password, name=name)
        await _answer("Register", self._auth.Register(request))

    async def login(self, email: str, password: str) -> str:
        """Sign in; return the person's name."""
        request = auth_service_pb2.LoginRequest(email=email, password=password)
        session = await _answer("Login", self._auth.Login(request))
        self._signed_in = client.bearer(session.access_token)
        return session.user.name

    async def courses(self) -> Sequence[Course]:
        """Browse the catalogue."""
        call = self._courses.ListCourses(course_service_pb2.ListCoursesRequest())
        return [
            Course(course.id, course.title, course.price.minor_units, course.completion_reward.minor_units)
            for course in (await _answer("ListCourses", call)).courses
        ]

    async def lessons(self, course_id: str) -> Sequence[tuple[str, str]]:
        """Return ids and titles of a course's required lessons."""
        call = self._courses.GetCourse(course_service_pb2.GetCourseRequest(course_id=course_id))
        modules = (await _answer("GetCourse", call)).course.modules
        return [(lesson.id, lesson.title) for module in modules for lesson in module.lessons if lesson.required]

    async def enroll(self, course_id: str, key: str) -> Enrollment:
        """Enrol, under an idempotency key."""
        request = enrollment_service_pb2.EnrollRequest(course_id=course_id, request_id=key)
        call = self._enrollments.Enroll(request, metadata=self._signed_in)
        return _enrollment((await _answer("Enroll", call)).enrollment)

    async def complete(self, enrollment_id: str, lesson_id: str) -> Enrollment:
        """Complete a lesson."""
        request = enrollment_service_pb2.CompleteLessonRequest(enrollment_id=enrollment_id, lesson_id=lesson_id)
        call = self._enrollments.CompleteLesson(request, metadata=self._signed_in)
        return _enrollment((await _answer("CompleteLesson", call)).enrollment)

    async def enrollment(self, enrollment_id: str) -> Enrollment:
        """Read an enrolment."""
        request = enrollment_service_pb2.GetEnrollmentRequest(enrollment_id=enrollment_id)
        call = self._enrollments.GetEnrollment(request, metadata=self._signed_in)
        return _enrollment((await _answer("GetEnrollment", call)).enrollment)

    async def available(self) -> int:
        """Return what the wallet can spend, in minor units of AZR."""
        call = self._wallets.GetWallet(wallet_service_pb2.GetWalletRequest(), metadata=self._signed_in)
        balances = (await _answer("GetWallet", call)).wallet.balances
        return sum(balance.available for balance in balances if balance.currency == "AZR")

    async def refund(self, payment_id: str, reason: str) -> int:
        """Ask for all of a payment back; return how much came, in minor units."""
        request = payment_service_pb2.CreateRefundRequest(payment_id=payment_id, reason=reason)
        call = self._payments.CreateRefund(request, metadata=self._signed_in)
        return (await _answer("CreateRefund", call)).refund.amount.minor_units

    async def history(self) -> Sequence[Movement]:
        """Return the wallet's movements, newest first."""
        call = self._wallets.ListTransactions(wallet_service_pb2.ListTransactionsRequest(), metadata=self._signed_in)
        return [
            Movement(
                wallet_pb2.TransactionType.Name(movement.type).removeprefix("TRANSACTION_TYPE_").lower(),
                movement.amount.minor_units,
                movement.balance_after.minor_units,
                movement.description,
            )
            for movement in (await _answer("ListTransactions", call)).transactions
        ]


async def _answer(name: str, call: Awaitable[Response]) -> Response:
    try:
        return await call
    except client.CallError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE and not error.reason:
            raise ConnectionError(name) from error
        raise Refused(name, error.reason or str(error.details())) from error


def _enrollment(enrollment: enrollment_pb2.Enrollment) -> Enrollment:
    state = enrollment_pb2.EnrollmentState.Name(enrollment.state)
    return Enrollment(
        enrollment.id,
        state.removeprefix("ENROLLMENT_STATE_").lower(),
        enrollment.progress.basis_points,
        enrollment.payment_id,
    )
