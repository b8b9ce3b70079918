"""A peer on FastAPI, uvicorn and SQLAlchemy's asyncio ORM, written as their documentation recommends.

Response models, a session by dependency, `selectinload` for collections, PyJWT as in FastAPI's tutorial of OAuth2.
Where the documentation leaves a choice the quicker one is taken: no access log, integers as numbers, lesson texts
deferred where nobody reads them, a pool that is larger than the callers are many (each connection beyond it would be
opened and closed by its request), and the user's id taken from the token, as the system does, without a read.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import jwt
from fastapi import Depends, FastAPI, Header, HTTPException, Response, status
from fastapi.security import OAuth2PasswordBearer
from pydantic import BaseModel, ConfigDict, Json
from pydantic.alias_generators import to_camel
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import defer, joinedload, lazyload, load_only, selectinload

from bench.orm_models import Course, Enrollment, IdempotencyRecord, Lesson, LessonCompletion, Module, User, Wallet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.sql.base import ExecutableOption

ALGORITHM = "HS256"
ACTIVE, COMPLETED = "ENROLLMENT_STATE_ACTIVE", "ENROLLMENT_STATE_COMPLETED"
PAGE_SIZE = 20
POOL_SIZE = int(os.environ.get("PEER_POOL_SIZE", "20"))
DATABASE_URL = os.environ.get("PEER_DATABASE_URL", "postgresql+asyncpg://")
SECRET_KEY = os.environ.get("PEER_SECRET_KEY", "")

engine = create_async_engine(DATABASE_URL, pool_size=POOL_SIZE)
sessions = async_sessionmaker(engine, expire_on_commit=False)
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="token")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Close the connections in the end."""
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def get_session() -> AsyncIterator[AsyncSession]:
    """Give a request its session."""
    async with sessions() as session:
        yield session


async def get_user_id(token: Annotated[str, Depends(oauth2_scheme)]) -> str:
    """Return the user of the access token."""
    try:
        payload = jwt.decode(token, SECRET_KEY, algorithms=[ALGORITHM])
    except jwt.InvalidTokenError:
        raise HTTPException(
            status.HTTP_401_UNAUTHORIZED, "Could not validate credentials", {"WWW-Authenticate": "Bearer"}
        ) from None
    user_id: str = payload["sub"]
    return user_id


SessionDep = Annotated[AsyncSession, Depends(get_session)]
UserIdDep = Annotated[str, Depends(get_user_id)]


class Out(BaseModel):
    """A response model, in lowerCamelCase, read from attributes."""

    model_config = ConfigDict(from_attributes=True, alias_generator=to_camel, populate_by_name=True)


class MoneyOut(Out):
    """An amount."""

    minor_units: int
    currency: str


class LessonTitleOut(Out):
    """A lesson, for who is not enrolled."""

    id: str
    title: str
    kind: str
    required: bool


class LessonOut(LessonTitleOut):
    """A lesson, for who is."""

    content: str


class ModuleTitlesOut(Out):
    """A module, for who is not enrolled."""

    id: str
    title: str
    sequential: bool
    lessons: list[LessonTitleOut]


class ModuleOut(Out):
    """A module, for who is."""

    id: str
    title: str
    sequential: bool
    lessons: list[LessonOut]


class CourseOut(Out):
    """A course of a page."""

    id: str
    title: str
    description: str
    price: MoneyOut
    state: str
    completion_reward: MoneyOut
    educator_id: str
    lesson_count: int
    revision: int
    create_time: datetime
    update_time: datetime
    publish_time: datetime | None
    etag: str
    educator_name: str
    language: str
    duration: str | None
    prerequisites: list[str]


class CourseWithTitlesOut(CourseOut):
    """A course, for who is not enrolled."""

    modules: list[ModuleTitlesOut]


class CourseWithLessonsOut(CourseOut):
    """A course, for who is."""

    modules: list[ModuleOut]


class CoursePageOut(Out):
    """A page of the catalogue."""

    courses: list[CourseOut]
    next_page_token: str


class GetCourseOut(Out):
    """One course."""

    course: CourseWithTitlesOut


class GetLessonsOut(Out):
    """One course with its lessons."""

    course: CourseWithLessonsOut


class BalanceOut(Out):
    """What a wallet has of one currency."""

    currency: str
    posted: int
    held: int
    available: int
    etag: str


class WalletOut(Out):
    """A wallet."""

    id: str
    state: str
    balances: list[BalanceOut]
    create_time: datetime
    etag: str
    user_id: str


class GetWalletOut(Out):
    """One's own wallet."""

    wallet: WalletOut


class UserOut(Out):
    """An account."""

    id: str
    email: str
    name: str
    role: str
    bio: str
    avatar_url: str
    location: str
    timezone: str
    preferences: Json[dict[str, Any]]
    email_verified: bool
    state: str
    create_time: datetime
    update_time: datetime


class GetProfileOut(Out):
    """One's own account."""

    user: UserOut


class ProgressOut(Out):
    """How far an enrolment is."""

    completed_lessons: int
    required_lessons: int
    basis_points: int


class EnrollmentOut(Out):
    """An enrolment."""

    id: str
    course_id: str
    state: str
    progress: ProgressOut
    enroll_time: datetime | None
    complete_time: datetime | None
    user_id: str
    course_revision: int
    course_title: str


class CompleteLessonOut(Out):
    """The enrolment, with the lesson completed."""

    enrollment: EnrollmentOut


class LessonIn(Out):
    """What is changed of a lesson."""

    title: str


class UpdateLessonOut(Out):
    """A lesson, and the version of its course."""

    lesson: LessonOut
    etag: str


@app.get("/courses", response_model=CoursePageOut)
async def list_courses(session: SessionDep) -> dict[str, object]:
    """Return the first page of published courses, newest first."""
    newest_first = select(Course).where(Course.state == "COURSE_STATE_PUBLISHED").order_by(Course.id.desc())
    courses = (await session.scalars(newest_first.limit(PAGE_SIZE + 1))).all()
    more = courses[PAGE_SIZE - 1].id if len(courses) > PAGE_SIZE else ""
    return {"courses": courses[:PAGE_SIZE], "next_page_token": more}


@app.get("/courses/{course_id}", response_model=GetCourseOut)
async def get_course(course_id: str, session: SessionDep) -> dict[str, object]:
    """Return a published course with the titles of its lessons."""
    titles = selectinload(Course.modules).selectinload(Module.lessons).defer(Lesson.content)
    return {"course": await _published(session, course_id, titles)}


@app.get("/courses/{course_id}/lessons", response_model=GetLessonsOut)
async def get_lessons(course_id: str, session: SessionDep, user_id: UserIdDep) -> dict[str, object]:
    """Return a course with its lessons, to who is enrolled."""
    enrolled = select(Enrollment.id).where(
        Enrollment.course_id == course_id, Enrollment.user_id == user_id, Enrollment.state.in_((ACTIVE, COMPLETED))
    )
    if await session.scalar(enrolled) is None:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Not enrolled")
    lessons = selectinload(Course.modules).selectinload(Module.lessons)
    return {"course": await _published(session, course_id, lessons)}


@app.get("/wallet", response_model=GetWalletOut)
async def get_wallet(session: SessionDep, user_id: UserIdDep) -> dict[str, object]:
    """Return one's own wallet with its balances."""
    own = select(Wallet).where(Wallet.user_id == user_id).options(selectinload(Wallet.balances))
    wallet = await session.scalar(own)
    if wallet is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "No wallet")
    return {"wallet": wallet}


@app.get("/profile", response_model=GetProfileOut)
async def get_profile(session: SessionDep, user_id: UserIdDep) -> dict[str, object]:
    """Return one's own account."""
    user = await session.get(User, user_id)
    if user is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "No such user")
    return {"user": user}


@app.post("/enrollments/{enrollment_id}/lessons/{lesson_id}/complete")
async def complete_lesson(
    enrollment_id: str,
    lesson_id: str,
    session: SessionDep,
    user_id: UserIdDep,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Response:
    """Complete a lesson, once for a key. What locks it is not looked at."""
    key = idempotency_key or str(uuid4())
    async with session.begin():
        record = await session.get(IdempotencyRecord, (f"user:{user_id}", "complete_lesson", key))
        if record is not None:
            return Response(record.response, media_type="application/json")
        enrollment = await _with_lesson(session, user_id, enrollment_id, lesson_id)
        shown = CompleteLessonOut(enrollment=EnrollmentOut.model_validate(enrollment))
        answer = shown.model_dump_json(by_alias=True).encode()
        session.add(
            IdempotencyRecord(
                principal_id=f"user:{user_id}",
                method="complete_lesson",
                key=key,
                fingerprint=hashlib.sha256(f"{enrollment_id}/{lesson_id}".encode()).digest(),
                response=answer,
            )
        )
    return Response(answer, media_type="application/json")


@app.post("/lessons/{lesson_id}", response_model=UpdateLessonOut)
async def update_lesson(
    lesson_id: str, changes: LessonIn, session: SessionDep, user_id: UserIdDep
) -> dict[str, object]:
    """Change a lesson of one's own course, and with it the course's version."""
    own = select(Lesson, Course).join(Module, Module.id == Lesson.module_id).join(Course, Course.id == Module.course_id)
    own = own.where(Lesson.id == lesson_id, Course.educator_id == user_id).options(lazyload(Course.educator))
    async with session.begin():
        found = (await session.execute(own.with_for_update(of=Course))).first()
        if found is None:
            raise HTTPException(status.HTTP_404_NOT_FOUND, "No such lesson")
        lesson, course = found
        lesson.title = changes.title
        course.version += 1
        course.update_time = datetime.now(UTC)
    return {"lesson": lesson, "etag": course.etag}


async def _with_lesson(session: AsyncSession, user_id: str, enrollment_id: str, lesson_id: str) -> Enrollment:
    title = joinedload(Enrollment.course, innerjoin=True).options(load_only(Course.title), lazyload(Course.educator))
    own = select(Enrollment).where(Enrollment.id == enrollment_id, Enrollment.user_id == user_id).options(title)
    enrollment: Enrollment | None = await session.scalar(own.with_for_update(of=Enrollment))
    if enrollment is None or enrollment.state not in (ACTIVE, COMPLETED):
        raise HTTPException(status.HTTP_404_NOT_FOUND, "Not enrolled")
    of_course = select(Lesson).join(Module).where(Lesson.id == lesson_id, Module.course_id == enrollment.course_id)
    lesson = await session.scalar(of_course.options(defer(Lesson.content)))
    if lesson is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "No such lesson")
    if await session.get(LessonCompletion, (enrollment_id, lesson_id)) is None:
        now = datetime.now(UTC)
        session.add(LessonCompletion(enrollment_id=enrollment_id, lesson_id=lesson_id, complete_time=now))
        enrollment.completed_lessons += lesson.required
        if enrollment.completed_lessons == enrollment.required_lessons:
            enrollment.state, enrollment.complete_time = COMPLETED, now
    return enrollment


async def _published(session: AsyncSession, course_id: str, collections: ExecutableOption) -> Course:
    found = select(Course).where(Course.id == course_id, Course.state == "COURSE_STATE_PUBLISHED")
    course: Course | None = await session.scalar(found.options(collections))
    if course is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "No such course")
    return course
