"""What a new development system begins with: three accounts, two courses, and a learner who has begun one of them.

Accounts are made by Auth's own operation, since registering always makes a student; all else goes through the edge like
anyone's calls. Every step may be repeated, so a seeding that was cut off is simply done again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from azora import client
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from azora.education.v1 import (
    course_pb2,
    course_service_pb2,
    course_service_pb2_grpc,
    enrollment_service_pb2,
    enrollment_service_pb2_grpc,
)
from azora.payment.v1 import payment_service_pb2, payment_service_pb2_grpc
from azora.policy.v1 import permission_pb2

from services.auth.admin import ensure_account
from services.auth.settings import AuthSettings
from services.demo.courses import COURSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grpc import aio

    from services.demo.courses import SeedCourse, SeedQuestion
    from services.local.system import System

WELCOME_BONUS_MINOR = 100_00
QUIZ_PASS_BASIS_POINTS = 7500


@dataclass(frozen=True, slots=True)
class SeedAccount:
    """An account that everyone may know: development systems alone have it."""

    email: str
    password: str
    name: str
    role: permission_pb2.Role.ValueType


ADMIN = SeedAccount("admin@azora.world", "Admin@2024!", "Ada Admin", permission_pb2.ROLE_ADMIN)
EDUCATOR = SeedAccount("educator@azora.world", "Educator@2024!", "Edu Mentor", permission_pb2.ROLE_EDUCATOR)
STUDENT = SeedAccount("student@azora.world", "Student@2024!", "Sam Student", permission_pb2.ROLE_STUDENT)


async def seed(system: System) -> None:
    """Seed the running system once; a mark in its home says that it is done."""
    if system.layout.seeded.exists():
        return
    settings = auth_settings(system)
    ids = {
        account: await ensure_account(
            settings,
            email=account.email,
            password=account.password,
            name=account.name,
            role=permission_pb2.Role.Name(account.role),
        )
        for account in (ADMIN, EDUCATOR, STUDENT)
    }
    async with system.settings.public_port.channel() as channel:
        admin, student = await _sign_in(channel, ADMIN), await _sign_in(channel, STUDENT)
        courses = [await _ensure_course(channel, admin, course, ids[EDUCATOR]) for course in COURSES]
        await _enroll(channel, student, courses[0])
        await _welcome(channel, admin, ids[STUDENT])
    system.layout.seeded.touch()


def auth_settings(system: System) -> AuthSettings:
    """Return Auth's settings as its own process gets them."""
    prefix = "AZORA_"
    environment = system.environment("auth").items()
    return AuthSettings.model_validate(
        {name.removeprefix(prefix).lower(): value for name, value in environment if name.startswith(prefix)}
    )


async def _sign_in(channel: aio.Channel, account: SeedAccount) -> client.Metadata:
    request = auth_service_pb2.LoginRequest(email=account.email, password=account.password)
    session = await auth_service_pb2_grpc.AuthServiceStub(channel).Login(request)
    return client.bearer(session.access_token)


async def _ensure_course(channel: aio.Channel, admin: client.Metadata, course: SeedCourse, educator_id: str) -> str:
    courses = course_service_pb2_grpc.CourseServiceStub(channel)
    published = await courses.ListCourses(course_service_pb2.ListCoursesRequest(page_size=100))
    for existing in published.courses:
        if existing.title == course.title:
            return existing.id
    request = course_service_pb2.CreateCourseRequest(
        title=course.title,
        description=course.description,
        modules=[
            course_service_pb2.NewModule(
                title=module,
                lessons=[course_service_pb2.NewLesson(title=title, content=content) for title, content in lessons],
            )
            for module, lessons in course.modules
        ],
        educator_id=educator_id,
    )
    request.modules[-1].lessons.append(_quiz(course.quiz))
    request.price.minor_units, request.price.currency = course.price_minor, "AZR"
    request.completion_reward.minor_units, request.completion_reward.currency = course.reward_minor, "AZR"
    draft = (await courses.CreateCourse(request, metadata=admin)).course
    await courses.PublishCourse(course_service_pb2.PublishCourseRequest(course_id=draft.id), metadata=admin)
    return draft.id


def _quiz(pool: Sequence[SeedQuestion]) -> course_service_pb2.NewLesson:
    """Return an optional lesson: a quiz that three of four right answers pass."""
    questions = [
        course_pb2.QuizQuestion(
            prompt=question.prompt,
            options=[
                course_pb2.QuizOption(text=option, correct=place == question.right)
                for place, option in enumerate(question.options)
            ],
            explanation=question.explanation,
        )
        for question in pool
    ]
    quiz = course_pb2.Quiz(questions=questions, pass_basis_points=QUIZ_PASS_BASIS_POINTS)
    return course_service_pb2.NewLesson(
        title="What have you learned?", kind=course_pb2.LESSON_KIND_QUIZ, required=False, quiz=quiz
    )


async def _enroll(channel: aio.Channel, student: client.Metadata, course_id: str) -> None:
    enrollments = enrollment_service_pb2_grpc.EnrollmentServiceStub(channel)
    try:
        await enrollments.Enroll(enrollment_service_pb2.EnrollRequest(course_id=course_id), metadata=student)
    except client.CallError as error:
        if error.reason != "ALREADY_ENROLLED":
            raise


async def _welcome(channel: aio.Channel, admin: client.Metadata, student_id: str) -> None:
    request = payment_service_pb2.EarnRequest(
        user_id=student_id, reference=f"welcome:{student_id}", description="Welcome to Azora"
    )
    request.amount.minor_units, request.amount.currency = WELCOME_BONUS_MINOR, "AZR"
    await payment_service_pb2_grpc.PaymentServiceStub(channel).Earn(request, metadata=admin)
