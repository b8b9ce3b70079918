"""The peer's tables, as SQLAlchemy's declarative mapping is written: the system's rows under one metadata."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Text, UniqueConstraint, Uuid, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, foreign, mapped_column, relationship
from sqlalchemy.types import DateTime


class Base(DeclarativeBase):
    """Ids are UUIDs as text, times have a time zone, integers are 64 bits wide."""

    type_annotation_map = {datetime: DateTime(timezone=True), int: BigInteger}


def id_column() -> Mapped[str]:
    """Return a column of UUIDs, as text: the primary key."""
    return mapped_column(Uuid(as_uuid=False), primary_key=True)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units."""

    minor_units: int
    currency: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Required lessons completed, of those that there are."""

    completed_lessons: int
    required_lessons: int

    @property
    def basis_points(self) -> int:
        """Return the share in hundredths of a percent."""
        return self.completed_lessons * 10_000 // self.required_lessons


class User(Base):
    """An account, without its password."""

    __tablename__ = "users"

    id: Mapped[str] = id_column()
    email: Mapped[str]
    name: Mapped[str]
    role: Mapped[str]
    bio: Mapped[str]
    avatar_url: Mapped[str]
    location: Mapped[str]
    timezone: Mapped[str]
    preferences: Mapped[str] = mapped_column(Text)
    email_verify_time: Mapped[datetime | None]
    stored_state: Mapped[str] = mapped_column("state")
    create_time: Mapped[datetime]
    update_time: Mapped[datetime]

    @property
    def email_verified(self) -> bool:
        """Whether the address was verified."""
        return self.email_verify_time is not None

    @property
    def state(self) -> str:
        """The state of the account."""
        return f"USER_STATE_{self.stored_state}"


class Person(Base):
    """The name of an educator."""

    __tablename__ = "people"

    user_id: Mapped[str] = id_column()
    name: Mapped[str]


class Course(Base):
    """A course."""

    __tablename__ = "courses"

    id: Mapped[str] = id_column()
    educator_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    state: Mapped[str]
    title: Mapped[str]
    description: Mapped[str]
    price_minor: Mapped[int]
    price_currency: Mapped[str]
    reward_minor: Mapped[int]
    capacity: Mapped[int | None]
    lesson_count: Mapped[int]
    revision: Mapped[int]
    version: Mapped[int]
    create_time: Mapped[datetime]
    update_time: Mapped[datetime]
    publish_time: Mapped[datetime | None]
    language: Mapped[str]
    duration_seconds: Mapped[int]
    prerequisites: Mapped[list[str]] = mapped_column(ARRAY(Uuid(as_uuid=False)))
    educator: Mapped[Person | None] = relationship(
        primaryjoin=lambda: foreign(Course.educator_id) == Person.user_id, lazy="joined", viewonly=True
    )
    modules: Mapped[list[Module]] = relationship(order_by="Module.position")

    @property
    def educator_name(self) -> str:
        """Return the name of who owns it."""
        return self.educator.name if self.educator else ""

    @property
    def duration(self) -> str | None:
        """Return how long it takes."""
        return f"{self.duration_seconds}s" if self.duration_seconds else None

    @property
    def price(self) -> Money:
        """Return what it costs."""
        return Money(self.price_minor, self.price_currency)

    @property
    def completion_reward(self) -> Money:
        """Return what completing it earns."""
        return Money(self.reward_minor, "AZR")

    @property
    def etag(self) -> str:
        """Return the name of this version."""
        return str(self.version)


class Module(Base):
    """A part of a course."""

    __tablename__ = "modules"

    id: Mapped[str] = id_column()
    course_id: Mapped[str] = mapped_column(ForeignKey("courses.id"), index=True)
    position: Mapped[int]
    title: Mapped[str]
    sequential: Mapped[bool]
    lessons: Mapped[list[Lesson]] = relationship(order_by="Lesson.position")


class Lesson(Base):
    """A lesson of a module."""

    __tablename__ = "lessons"

    id: Mapped[str] = id_column()
    module_id: Mapped[str] = mapped_column(ForeignKey("modules.id"), index=True)
    position: Mapped[int]
    title: Mapped[str]
    kind: Mapped[str]
    required: Mapped[bool]
    content: Mapped[str]


class Enrollment(Base):
    """That somebody takes a course."""

    __tablename__ = "enrollments"
    __table_args__ = (UniqueConstraint("user_id", "course_id"),)

    id: Mapped[str] = id_column()
    user_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    course_id: Mapped[str] = mapped_column(ForeignKey("courses.id"))
    course_revision: Mapped[int]
    state: Mapped[str]
    completed_lessons: Mapped[int]
    required_lessons: Mapped[int]
    enroll_time: Mapped[datetime | None]
    complete_time: Mapped[datetime | None]
    course: Mapped[Course] = relationship()

    @property
    def course_title(self) -> str:
        """Return the title of the course."""
        return self.course.title

    @property
    def progress(self) -> Progress:
        """Return how far it is."""
        return Progress(self.completed_lessons, self.required_lessons)


class LessonCompletion(Base):
    """That a lesson is completed in an enrolment."""

    __tablename__ = "lesson_completions"

    enrollment_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), ForeignKey("enrollments.id"), primary_key=True)
    lesson_id: Mapped[str] = id_column()
    complete_time: Mapped[datetime]


class IdempotencyRecord(Base):
    """The answer of a keyed call."""

    __tablename__ = "idempotency_records"

    principal_id: Mapped[str] = mapped_column(primary_key=True)
    method: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]
    response: Mapped[bytes | None]


class Hold(Base):
    """Money set aside."""

    __tablename__ = "holds"

    id: Mapped[str] = id_column()
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    state: Mapped[str]
    amount: Mapped[int]
    expire_time: Mapped[datetime]


class Account(Base):
    """What a wallet has of one currency."""

    __tablename__ = "accounts"

    id: Mapped[str] = id_column()
    owner_id: Mapped[str] = mapped_column(ForeignKey("wallets.id"), index=True)
    currency: Mapped[str]
    posted: Mapped[int]
    sequence: Mapped[int]
    if TYPE_CHECKING:
        held: Mapped[int]

    @property
    def etag(self) -> str:
        """Return what changes with every entry and hold."""
        return hashlib.sha256(f"{self.sequence}/{self.held}".encode()).hexdigest()[:16]

    @property
    def available(self) -> int:
        """Return what can be spent."""
        return self.posted - self.held


Account.held = column_property(
    select(func.coalesce(func.sum(Hold.amount), 0))
    .where(Hold.account_id == Account.id, Hold.state == "ACTIVE", Hold.expire_time > func.now())
    .scalar_subquery()
)


class Wallet(Base):
    """Somebody's money."""

    __tablename__ = "wallets"

    id: Mapped[str] = id_column()
    user_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), unique=True)
    state: Mapped[str]
    revision: Mapped[int]
    create_time: Mapped[datetime]
    balances: Mapped[list[Account]] = relationship(order_by="Account.currency")

    @property
    def etag(self) -> str:
        """Return what changes with every balance."""
        stands = [(of.currency, of.sequence, int(of.held)) for of in self.balances if of.sequence or of.held]
        digest = hashlib.sha256(f"{self.id} {self.revision} {stands}".encode()).digest()
        return base64.urlsafe_b64encode(digest[:12]).decode()
