"""Payment and Education, both real, over a mesh whose calls can be made to fail: what moves money moves it here."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from grpc import aio

from interceptors.client import OutgoingCalls
from services.education.clients import PaymentClient
from services.payment.clients import EducationClient
from services.shared.errors import DependencyUnavailable
from tests.support import education as education_support
from tests.support import payment as payment_support
from tests.support.education import RunningEducation, running_education
from tests.support.payment import RunningPayment, azr, running_payment
from tests.support.serving import Signer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from azora.client import Metadata
    from azora.education.v1 import course_pb2, enrollment_pb2

    from tests.support.postgres import Clone

PRICE, REWARD = 49_00, 75_00


@dataclass(slots=True)
class Road(aio.UnaryUnaryClientInterceptor):
    """The way of one service to another: adds what the gateway adds, and loses calls or answers by method name."""

    identity: Metadata
    silent: set[str] = field(default_factory=set)
    """Calls that do not arrive; "*" for all."""
    lost: set[str] = field(default_factory=set)
    """Calls whose answer does not come back; "*" for all."""
    before: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    """What a call waits for on its way."""

    async def intercept_unary_unary(
        self, continuation: Callable[[aio.ClientCallDetails, Any], Any], details: aio.ClientCallDetails, request: Any
    ) -> Any:
        path = details.method.decode() if isinstance(details.method, bytes) else details.method
        name = path.rpartition("/")[2]
        names = {"*", name}
        if names & self.silent:
            raise DependencyUnavailable(retry_after_seconds=1)
        if name in self.before:
            await self.before[name]()
        metadata = aio.Metadata(*(details.metadata or ()), *self.identity)
        call = await continuation(
            aio.ClientCallDetails(details.method, details.timeout, metadata, details.credentials, None), request
        )
        await call
        if names & self.lost:
            raise DependencyUnavailable(retry_after_seconds=1)
        return call


@dataclass(slots=True)
class LateEducation:
    """Education for a Payment that starts before it."""

    client: EducationClient | None = None

    async def close_enrollment(self, *, payment_id: str, refund_id: str, by_payer: bool) -> None:
        """Pass the question on."""
        assert self.client
        await self.client.close_enrollment(payment_id=payment_id, refund_id=refund_id, by_payer=by_payer)


@dataclass(frozen=True, slots=True)
class Economy:
    """Both services, and the ways between them."""

    payment: RunningPayment
    education: RunningEducation
    to_payment: Road
    to_education: Road

    async def course(self, **changes: Any) -> course_pb2.Course:
        """Publish a course that costs 49.00 and earns 75.00."""
        fields: dict[str, Any] = {"price": azr(PRICE), "completion_reward": azr(REWARD)} | changes
        return await self.education.admin().published(**fields)

    async def learner(self, minor_units: int = PRICE) -> Learner:
        """Return a new person with this much money."""
        purse = await self.payment.rich(minor_units)
        return Learner(purse, education_support.Person(purse.id, purse.metadata, self.education))


@dataclass(frozen=True, slots=True)
class Learner:
    """A person in both services."""

    purse: payment_support.Person
    study: education_support.Person

    async def posted(self) -> int:
        """Return the balance of the wallet."""
        return (await self.purse.balance())[0]

    async def enroll(self, course: course_pb2.Course, *, key: str = "") -> enrollment_pb2.Enrollment:
        """Enrol."""
        return await self.study.enroll(course.id, key=key)

    async def state(self) -> str:
        """Return the state of the only enrolment."""
        return await self.study.education.state(self.purse.id)


@asynccontextmanager
async def running_economy(payment_database: Clone, education_database: Clone, **changes: Any) -> AsyncIterator[Economy]:
    """Serve both, each on its own database. `changes` are of the settings of both."""
    signer, late = Signer(), LateEducation()
    to_payment, to_education = Road(payment_support.EDUCATION), Road(education_support.PAYMENT)
    async with (
        running_payment(
            payment_database.app_url, payment_database.owner_url, signer=signer, education=late, **changes
        ) as payment,
        aio.insecure_channel(payment.target, interceptors=[to_payment, OutgoingCalls()]) as payments,
        running_education(
            education_database.app_url,
            education_database.owner_url,
            through=PaymentClient(payments),
            signer=signer,
            **changes,
        ) as education,
        aio.insecure_channel(education.target, interceptors=[to_education, OutgoingCalls()]) as enrollments,
    ):
        late.client = EducationClient(enrollments)
        yield Economy(payment, education, to_payment, to_education)
