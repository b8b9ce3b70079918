"""The client that the demo plays, over JSON or over typed stubs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Refused(Exception):
    """The system refused a call of the story."""

    def __init__(self, call: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{call} was refused: {reason}")


@dataclass(frozen=True, slots=True)
class Course:
    """A course as the catalogue shows it; amounts in minor units of AZR."""

    id: str
    title: str
    price_minor: int
    reward_minor: int


@dataclass(frozen=True, slots=True)
class Enrollment:
    """An enrolment: its progress in basis points, and the payment that bought it (empty for a free course)."""

    id: str
    state: str
    basis_points: int
    payment_id: str


@dataclass(frozen=True, slots=True)
class Movement:
    """One line of the wallet's history, in minor units of AZR."""

    kind: str
    amount_minor: int
    balance_after_minor: int
    description: str


class Learner(Protocol):
    """A person with a client. Every method raises Refused with a reason, ConnectionError if nobody answers."""

    way: str
    """How the client speaks: "JSON over HTTP", for example."""

    async def register(self, email: str, password: str, name: str) -> None:
        """Make an account."""

    async def login(self, email: str, password: str) -> str:
        """Sign in; return the person's name."""

    async def courses(self) -> Sequence[Course]:
        """Browse the catalogue."""

    async def lessons(self, course_id: str) -> Sequence[tuple[str, str]]:
        """Return ids and titles of a course's required lessons."""

    async def enroll(self, course_id: str, key: str) -> Enrollment:
        """Enrol, under an idempotency key."""

    async def complete(self, enrollment_id: str, lesson_id: str) -> Enrollment:
        """Complete a lesson."""

    async def enrollment(self, enrollment_id: str) -> Enrollment:
        """Read an enrolment."""

    async def available(self) -> int:
        """Return what the wallet can spend, in minor units of AZR."""

    async def refund(self, payment_id: str, reason: str) -> int:
        """Ask for all of a payment back; return how much came, in minor units."""

    async def history(self) -> Sequence[Movement]:
        """Return the wallet's movements, newest first."""
