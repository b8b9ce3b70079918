"""Auth, Payment and Education, all real, and Auth's way to the others: what concerns a person in all of them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg
from azora.auth.v1 import auth_service_pb2 as pb
from azora.auth.v1 import mail_service_pb2, mail_service_pb2_grpc, user_service_pb2, user_service_pb2_grpc
from azora.client import Metadata, bearer
from azora.education.v1 import internal_service_pb2 as education_pb
from azora.payment.v1 import internal_service_pb2 as payment_pb
from azora.payment.v1 import internal_service_pb2_grpc as payment_grpc
from grpc import aio

from interceptors.client import OutgoingCalls, OutgoingStreams
from services.auth.clients import EducationClient, PaymentClient
from services.auth.container import Container
from services.auth.erasures.model import EraseRemainder
from services.auth.personal_data import OtherServices, PersonalData
from services.shared.audit.model import Finding, Progress
from services.shared.audit.operations import AuditOperations
from services.shared.audit.store import AuditStore
from services.shared.db import Database
from services.shared.errors import DependencyUnavailable
from services.shared.pagination import PageTokens
from services.shared.tokens import TOKEN_LIFE
from tests.support import education as education_support
from tests.support import payment as payment_support
from tests.support.auth import PASSWORD, FakeSubscribers, RunningAuth, auth_beside
from tests.support.economy import Economy, Learner, Road, running_economy
from tests.support.services import SERVICES
from tests.support.serving import channel_to
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from azora.event.v1 import event_pb2

    from tests.support.education import RunningEducation
    from tests.support.payment import RunningPayment
    from tests.support.postgres import Clone

AUTH: Metadata = (("x-forwarded-client-cert", "URI=spiffe://azora.local/ns/default/sa/auth"),)
"""What the gateway adds to a call of Auth's."""


@dataclass(slots=True)
class StreamRoad(aio.UnaryStreamClientInterceptor):
    """As `Road`, for calls with a stream of responses."""

    road: Road

    async def intercept_unary_stream(
        self, continuation: Callable[[aio.ClientCallDetails, Any], Any], details: aio.ClientCallDetails, request: Any
    ) -> Any:
        if "*" in self.road.silent:
            raise DependencyUnavailable(retry_after_seconds=1)
        metadata = aio.Metadata(*(details.metadata or ()), *self.road.identity)
        return await continuation(
            aio.ClientCallDetails(details.method, details.timeout, metadata, details.credentials, None), request
        )


@dataclass(slots=True)
class Subscribers(FakeSubscribers):
    """The other services, once they are there."""

    economy: Economy | None = None

    async def send(self, subscriber: str, events: Sequence[event_pb2.Event]) -> Sequence[event_pb2.Result]:
        """Deliver the events."""
        if not self.answer or self.economy is None:
            raise DependencyUnavailable
        self.received += [(subscriber, event) for event in events]
        if subscriber == "education":
            request = education_pb.ReceiveEventsRequest(events=events)
            return (await self.economy.education.internal.ReceiveEvents(request, metadata=AUTH)).results
        stub = payment_grpc.InternalServiceStub(self.economy.payment.channel)
        return (await stub.ReceiveEvents(payment_pb.ReceiveEventsRequest(events=events), metadata=AUTH)).results


@dataclass(frozen=True, slots=True)
class Account:
    """A person with an account, in all services."""

    id: str
    email: str
    metadata: Metadata
    """Auth's access token."""
    refresh_token: str
    learner: Learner
    """The same person's money and courses."""


@dataclass(frozen=True, slots=True)
class Platform:
    """The services, and Auth's ways to the others."""

    auth: RunningAuth
    users: user_service_pb2_grpc.UserServiceAsyncStub
    mails: mail_service_pb2_grpc.MailServiceAsyncStub
    economy: Economy
    to_education: Road
    to_payment: Road
    others: OtherServices
    clones: dict[str, Clone] = field(default_factory=dict)

    @property
    def services(self) -> Mapping[str, RunningAuth | RunningEducation | RunningPayment]:
        """The services by name."""
        return {"auth": self.auth, "education": self.economy.education, "payment": self.economy.payment}

    async def register(self, email: str, name: str = "Thandi", minor_units: int = 0, role: str = "") -> Account:
        """Make an account, with money."""
        made = await self.auth.register(email, name=name)
        if role:
            await self.auth.sql("UPDATE users SET role = $1 WHERE id = $2", role, made.user.id)
            made = await self.auth.login(email)  # type: ignore[assignment]  # An answer with the same fields.
        payment, education, user_id = self.economy.payment, self.economy.education, made.user.id
        metadata = bearer(payment.signer.token(user_id, role or "ROLE_STUDENT"))
        purse = payment_support.Person(user_id, metadata, payment)
        if minor_units:
            await payment.earn(purse, minor_units)
        learner = Learner(purse, education_support.Person(user_id, metadata, education))
        return Account(user_id, email, bearer(made.access_token), made.refresh_token, learner)

    async def delete(self, person: Account, *, password: str = PASSWORD, code: str = "", forfeit: bool = True) -> None:
        """Have a person delete the account."""
        request = pb.DeleteMyAccountRequest(password=password, code=code, forfeit_balance=forfeit)
        await self.auth.auth.DeleteMyAccount(request, metadata=person.metadata)

    async def delete_user(self, administrator: Account, user_id: str, *, forfeit: bool = True) -> None:
        """Have an administrator delete an account."""
        request = user_service_pb2.DeleteUserRequest(user_id=user_id, forfeit_balance=forfeit)
        await self.users.DeleteUser(request, metadata=administrator.metadata)

    async def get_user(self, administrator: Account, user_id: str) -> user_service_pb2.GetUserResponse:
        """Read a user, as an administrator."""
        request = user_service_pb2.GetUserRequest(user_id=user_id)
        return await self.users.GetUser(request, metadata=administrator.metadata)

    async def erased(self, user_id: str, *, within_seconds: float = 30) -> None:
        """Wait until an erasure is complete."""

        async def complete() -> bool:
            rows = await self.auth.sql(
                "SELECT 1 FROM erasures WHERE user_id = $1 AND complete_time IS NOT NULL", user_id
            )
            return bool(rows)

        await eventually(complete, within_seconds=within_seconds)

    async def sweep(self) -> None:
        """Do what the periodic job does."""
        container = Container(self.auth.settings)
        await PersonalData.of(container, self.others).erasures.sweep_erasures()
        await container.close()

    async def erase_remainder(self, user_id: str) -> None:
        """Do what the job of the second erasure does."""
        (queued,) = await self.auth.sql(
            "SELECT execute_after - now() AS delay FROM pgqueuer WHERE entrypoint = 'erase_remainder'"
        )
        assert queued["delay"] > TOKEN_LIFE
        container = Container(self.auth.settings)
        await PersonalData.of(container, self.others).erasures.erase_remainder(EraseRemainder(user_id))
        await container.close()

    async def pending(self, user_id: str, service: str) -> str:
        """Return what a service waits for."""
        rows = await self.auth.sql(
            "SELECT pending FROM service_erasures WHERE user_id = $1 AND service = $2", user_id, service
        )
        return str(rows[0]["pending"]) if rows else ""

    async def export(self, person: Account) -> bytes:
        """Export a person's data."""
        call = self.auth.auth.ExportMyData(pb.ExportMyDataRequest(), metadata=person.metadata)
        return b"".join([part.data async for part in call])

    async def keyed(self, user_id: str) -> dict[str, int]:
        """Return how many answers to the person's own idempotency keys each service keeps; Auth takes none."""
        own = "SELECT count(*)::int AS kept FROM idempotency_records WHERE principal_id = 'user:' || $1"
        answers = {name: await self.services[name].sql(own, user_id) for name in SERVICES if name != "auth"}
        return {name: rows[0]["kept"] for name, rows in answers.items()}

    async def subjects(self, administrator: Account, address: str) -> list[str]:
        """Return the subjects of the mails to an address, the newest first."""
        request = mail_service_pb2.ListMessagesRequest(page_size=100)
        kept = (await self.mails.ListMessages(request, metadata=administrator.metadata)).messages
        return [message.subject for message in kept if message.address == address]

    async def audit_findings(self) -> list[str]:
        """Return what is wrong with the audit logs, once all events are sealed."""

        async def sealed() -> bool:
            unsealed = "SELECT FROM audit_positions WHERE seal IS NULL"
            return not any([await service.sql(unsealed) for service in self.services.values()])

        await eventually(sealed)
        return [found.resource for clone in self.clones.values() for found in await _audit_findings(clone.app_url)]

    async def found(self, text: str) -> set[tuple[str, str, str]]:
        """Return database, table and column of every value that contains a text, whatever its case, as bytes too."""
        return {
            (service, *place) for service, clone in self.clones.items() for place in await _found(clone.owner_url, text)
        }


async def _audit_findings(url: str) -> list[Finding]:
    database, findings = Database(url, pool_size=1), list[Finding]()
    operations = AuditOperations(database=database, store=AuditStore(), pages=PageTokens(b"k" * 32))
    rest: Progress | None = Progress()
    try:
        while rest is not None:
            verified, rest = await operations.verify(progress=rest)
            findings += verified.findings
    finally:
        await database.close()
    return findings


async def _found(url: str, text: str) -> set[tuple[str, str]]:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        columns = await connection.fetch("""
            SELECT c.relname, a.attname, format_type(a.atttypid, NULL) AS type
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
        """)
        places = set()
        for table, column, kind in columns:
            # Bytes as text, byte by byte: what is encoded within them is found, too.
            value = f"encode(\"{column}\", 'escape')" if kind == "bytea" else f'"{column}"::text'
            if await connection.fetchval(
                f'SELECT EXISTS (SELECT FROM "{table}" WHERE strpos(lower({value}), lower($1)) > 0)',  # noqa: S608 - names of the catalogue
                text,
            ):
                places.add((table, column))
        return places
    finally:
        await connection.close()


@asynccontextmanager
async def running_platform(auth: Clone, education: Clone, payment: Clone, **changes: Any) -> AsyncIterator[Platform]:
    """Serve all three, each on its own database. `changes` are of the settings of Auth."""
    to_education, to_payment, subscribers = Road(AUTH), Road(AUTH), Subscribers()
    async with (
        running_economy(payment, education) as economy,
        aio.insecure_channel(
            economy.education.target,
            interceptors=[to_education, StreamRoad(to_education), OutgoingCalls(), OutgoingStreams()],
        ) as educations,
        aio.insecure_channel(
            economy.payment.target,
            interceptors=[to_payment, StreamRoad(to_payment), OutgoingCalls(), OutgoingStreams()],
        ) as payments,
    ):
        subscribers.economy = economy
        client = PaymentClient(payments)
        others = OtherServices([EducationClient(educations), client], client)
        settings: dict[str, Any] = {"erasure_delay_seconds": 0} | changes
        async with (
            auth_beside(others, subscribers, auth.owner_url, auth.app_url, **settings) as running,
            channel_to(running.target) as channel,
        ):
            clones = {"auth": auth, "education": education, "payment": payment}
            users = user_service_pb2_grpc.UserServiceStub(channel)
            mails = mail_service_pb2_grpc.MailServiceStub(channel)
            yield Platform(running, users, mails, economy, to_education, to_payment, others, clones)
