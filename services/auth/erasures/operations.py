"""Deletion of accounts, by their users or by administrators."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from services.auth.accounts.model import EmailAddress, UserState
from services.auth.erasures.model import EraseAccount, EraseRemainder
from services.auth.errors import BalanceNotForfeited, ConfirmationRequired, UserNotFound
from services.auth.failures.model import Subject, SubjectKind
from services.auth.mail.model import Kind
from services.auth.revocations.model import Cause
from services.shared.audit.model import Action
from services.shared.audit.recording import record
from services.shared.errors import DependencyUnavailable
from services.shared.jobs import enqueue
from services.shared.tokens import TOKEN_LIFE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.model import User
    from services.auth.accounts.operations import AccountOperations
    from services.auth.accounts.store import AccountStore
    from services.auth.confirmations.operations import ConfirmationOperations
    from services.auth.erasures.model import ServiceErasure
    from services.auth.erasures.store import ErasureStore
    from services.auth.failures.operations import FailureOperations
    from services.auth.mail.operations import MailOperations
    from services.auth.ports import Balances, PersonalDataService
    from services.auth.revocations.operations import RevocationOperations
    from services.shared.db import Database
    from services.shared.personal_data import PersonOperations
    from services.shared.principal import Principal

OWN = "auth"
SWEEP_LIMIT = 1000
REMAINDER_DELAY = TOKEN_LIFE + timedelta(minutes=2)
"""Delay of the second erasure: a replica that Auth cannot reach accepts a token for its whole life, and records denied
calls when their minute is over."""


class ErasureOperations:
    """Deletes accounts: signs the user out at once, then has each service erase the user until all have confirmed.

    Services are asked in their order: what a user has begun in one may have to end before the next can erase. Auth's
    own data comes last.
    """

    def __init__(
        self,
        *,
        database: Database,
        store: ErasureStore,
        account_store: AccountStore,
        accounts: AccountOperations,
        confirmations: ConfirmationOperations,
        revocations: RevocationOperations,
        failures: FailureOperations,
        mail: MailOperations,
        persons: PersonOperations,
        services: Sequence[PersonalDataService],
        balances: Balances,
        delay: timedelta,
    ) -> None:
        """`persons` erases Auth's own data. `delay` outlasts the calls that began before the user was signed out."""
        self._database = database
        self._store = store
        self._account_store = account_store
        self._accounts = accounts
        self._confirmations = confirmations
        self._revocations = revocations
        self._failures = failures
        self._mail = mail
        self._persons = persons
        self._services = {service.name: service for service in services}
        self._balances = balances
        self._delay = delay

    async def delete_my_account(self, *, principal: Principal, password: str, code: str, forfeit_balance: bool) -> None:
        """Delete the caller's account.

        Raises BalanceNotForfeited, LastAdministrator, DependencyUnavailable; as ConfirmationOperations.confirmed.
        """

        async def work(connection: AsyncConnection) -> None:
            user = await self._confirmations.finish(connection, confirmation=confirmation)
            await self._accounts.keep_administrator(connection, user=user)
            await self._begin(connection, user, requester_id=principal.user_id)

        async with self._confirmations.confirmed(principal=principal, password=password, code=code) as confirmation:
            await self._check_balance(principal.user_id, forfeit_balance=forfeit_balance)
            await self._database.transaction(work)

    async def delete_user(self, *, principal: Principal, user_id: str, forfeit_balance: bool) -> None:
        """Delete another user's account; one that is being deleted already stays so.

        Raises UserNotFound, BalanceNotForfeited, LastAdministrator, DependencyUnavailable; ConfirmationRequired for the
        caller's own account, which `delete_my_account` deletes.
        """
        await self._check_balance(user_id, forfeit_balance=forfeit_balance)

        async def work(connection: AsyncConnection) -> None:
            account = await self._account_store.lock_account(connection, user_id)
            if account is None:
                raise UserNotFound
            await self._accounts.keep_administrator(connection, user=account.user)
            if user_id == principal.user_id:
                raise ConfirmationRequired(field="password")
            if account.user.state is not UserState.DELETING:
                await self._begin(connection, account.user, requester_id=principal.user_id)

        await self._database.transaction(work)

    async def erase_account(self, job: EraseAccount) -> None:
        """Ask each service that has not confirmed yet, and then delete the account.

        Raises DependencyUnavailable while a service is not reached, or something has to end first.
        """
        async with self._database.reading() as connection:
            erasure = await self._store.find_erasure(connection, job.user_id)
        if erasure is None or erasure.complete_time is not None:
            return
        for service in erasure.services:
            if service.confirm_time is None:
                await self._erase(job.user_id, service)

        async def work(connection: AsyncConnection) -> None:
            await self._store.update_complete(connection, job.user_id)
            remainder = EraseRemainder(job.user_id)
            await enqueue(connection, remainder, delay=REMAINDER_DELAY, once=remainder.once)

        await self._database.transaction(work)

    async def erase_remainder(self, job: EraseRemainder) -> None:
        """Have each service erase what calls that were late have written of a deleted user since.

        Raises DependencyUnavailable while a service is not reached, or something has to end first.
        """
        for service in (*self._services, OWN):
            if await self._eraser(service)(user_id=job.user_id):
                raise DependencyUnavailable
        await self._database.transaction(lambda connection: self._store.update_remainder(connection, job.user_id))

    async def sweep_erasures(self) -> None:
        """Enqueue the erasures that are not complete although their job is over."""

        async def work(connection: AsyncConnection) -> None:
            for job in await self._store.list_incomplete(connection, age=self._delay, limit=SWEEP_LIMIT):
                await enqueue(connection, job, once=job.once)
            for rest in await self._store.list_remaining(connection, age=2 * REMAINDER_DELAY, limit=SWEEP_LIMIT):
                await enqueue(connection, rest, once=rest.once)

        await self._database.transaction(work)

    async def _check_balance(self, user_id: str, *, forfeit_balance: bool) -> None:
        if forfeit_balance:
            return
        balances = await self._balances.list_balances(user_id=user_id)
        if balances:
            listed = (f"{balance.currency}:{balance.amount_minor}" for balance in balances)
            raise BalanceNotForfeited(balances=",".join(listed))

    async def _begin(self, connection: AsyncConnection, user: User, *, requester_id: str) -> None:
        """Sign the user out everywhere, and have them erased after the commit."""
        await self._revocations.end_user(connection, user_id=user.id, cause=Cause.USER_DELETED)
        await self._account_store.update_state(connection, user.id, UserState.DELETING)
        await self._store.insert_erasure(
            connection, user.id, requester_id=requester_id, services=[*self._services, OWN]
        )
        account = Subject(SubjectKind.ACCOUNT, EmailAddress(user.email).folded)
        await self._failures.clear(connection, subjects=[account, Subject(SubjectKind.CODES, user.id)])
        job = EraseAccount(user.id)
        await enqueue(connection, job, delay=self._delay, once=job.once)
        await record(connection, action=Action.USER_DELETE, target=f"users/{user.id}")
        await self._mail.notify(connection, kind=Kind.ACCOUNT_DELETED, user=user)

    async def _erase(self, user_id: str, service: ServiceErasure) -> None:
        try:
            pending = await self._eraser(service.service)(user_id=user_id)
        except DependencyUnavailable:
            await self._note(user_id, service, "the service is unavailable")
            raise
        await self._note(user_id, service, pending)
        if pending:
            raise DependencyUnavailable

    def _eraser(self, service: str) -> Callable[..., Awaitable[str]]:
        return self._persons.erase_person if service == OWN else self._services[service].erase_person

    async def _note(self, user_id: str, service: ServiceErasure, pending: str) -> None:
        await self._database.transaction(
            lambda connection: self._store.update_service(connection, user_id, service.service, pending=pending)
        )
