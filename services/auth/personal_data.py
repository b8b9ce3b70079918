"""What keeps data of persons: Auth's own resources, and the other services. Put together for `app`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from services.auth.accounts.store import AccountStore
from services.auth.api_keys.store import ApiKeyStore
from services.auth.clients import EducationClient, PaymentClient
from services.auth.devices.store import DeviceStore
from services.auth.erasures import jobs
from services.auth.erasures.model import EraseAccount, EraseRemainder
from services.auth.erasures.operations import ErasureOperations
from services.auth.erasures.store import ErasureStore
from services.auth.exports.operations import ExportOperations
from services.auth.factors.store import FactorStore
from services.auth.links.store import LinkStore
from services.auth.registrations.store import RegistrationStore
from services.auth.sessions.store import SessionStore
from services.shared.audit.store import AuditStore
from services.shared.jobs import job_name
from services.shared.personal_data import PersonOperations, UndeliveredEvents, UnfinishedJobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.container import Container
    from services.auth.ports import Balances, PersonalDataService
    from services.auth.settings import AuthSettings
    from services.shared.assembly import Infrastructure
    from services.shared.jobs import Job, Periodic


@dataclass(frozen=True, slots=True)
class OtherServices:
    """The other services, as Auth calls them."""

    services: Sequence[PersonalDataService]
    """In the order in which a person is erased: Education first ends what it holds in Payment."""
    balances: Balances

    @classmethod
    def over(cls, infrastructure: Infrastructure[AuthSettings]) -> OtherServices:
        """Return the services over the mesh."""
        payment = PaymentClient(infrastructure.mesh)
        return cls([EducationClient(infrastructure.mesh), payment], payment)


@dataclass(frozen=True, slots=True)
class PersonalData:
    """Export of a person's data, and its erasure."""

    exports: ExportOperations
    erasures: ErasureOperations

    @classmethod
    def of(cls, container: Container, others: OtherServices | None = None) -> PersonalData:
        """Return the operations. Tests give the other services."""
        infrastructure, accounts = container.infrastructure, container.accounts
        others, database = others or OtherServices.over(infrastructure), infrastructure.database
        # The account is the last, by which the others are found.
        keys = (FactorStore(), DeviceStore(), ApiKeyStore(), SessionStore())
        stores = (RegistrationStore(), LinkStore(), *keys, AccountStore())
        persons = PersonOperations(
            database=database,
            resources=[
                UnfinishedJobs(own=[job_name(EraseAccount), job_name(EraseRemainder)]),
                UndeliveredEvents(),
                container.mail,
                AuditStore(),
                *stores,
            ],
        )
        return cls(
            ExportOperations(accounts=accounts, persons=persons, services=others.services),
            ErasureOperations(
                database=database,
                store=ErasureStore(),
                account_store=AccountStore(),
                accounts=accounts,
                confirmations=container.confirmations,
                revocations=container.revocations,
                failures=container.failures,
                mail=container.mail,
                persons=persons,
                services=others.services,
                balances=others.balances,
                delay=timedelta(seconds=infrastructure.settings.erasure_delay_seconds),
            ),
        )

    @property
    def jobs(self) -> Sequence[Job[Any]]:
        """The jobs of erasures."""
        return jobs.jobs(self.erasures)

    @property
    def periodic(self) -> Sequence[Periodic]:
        """What runs on a schedule."""
        return jobs.periodic(self.erasures)
