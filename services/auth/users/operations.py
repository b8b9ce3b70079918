"""Administration of users."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.auth.accounts.model import EmailAddress, Role, UserState
from services.auth.errors import UserDeleting, UserNotFound
from services.auth.failures.model import Subject, SubjectKind
from services.auth.mail.model import Kind
from services.auth.revocations.model import Cause
from services.auth.users.model import RolePermissions, UserDetails
from services.shared.audit.model import Action
from services.shared.audit.recording import record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.accounts.model import User
    from services.auth.accounts.operations import AccountOperations
    from services.auth.accounts.store import AccountStore
    from services.auth.devices.operations import DeviceOperations
    from services.auth.erasures.store import ErasureStore
    from services.auth.failures.operations import FailureOperations
    from services.auth.links.operations import LinkOperations
    from services.auth.mail.operations import MailOperations
    from services.auth.revocations.operations import RevocationOperations
    from services.auth.users.model import UserFilter
    from services.auth.users.store import UserStore
    from services.shared.db import Database
    from services.shared.pagination import Page, PageTokens
    from services.shared.principal import Principal


class UserOperations:
    """What administrators see of users, and change: roles, states and waits."""

    def __init__(
        self,
        *,
        database: Database,
        store: UserStore,
        erasures: ErasureStore,
        account_store: AccountStore,
        accounts: AccountOperations,
        devices: DeviceOperations,
        failures: FailureOperations,
        links: LinkOperations,
        mail: MailOperations,
        pages: PageTokens,
        revocations: RevocationOperations,
        permissions: Mapping[str, frozenset[str]],
    ) -> None:
        """`permissions`: the names of the permissions of each role."""
        self._database = database
        self._store = store
        self._erasures = erasures
        self._account_store = account_store
        self._accounts = accounts
        self._devices = devices
        self._failures = failures
        self._links = links
        self._mail = mail
        self._pages = pages
        self._revocations = revocations
        self._permissions = permissions

    async def list_users(
        self, *, principal: Principal, matching: UserFilter, page_size: int, page_token: str
    ) -> Page[User]:
        """Return a page of the users who match, newest first. Raises PageTokenInvalid."""
        bound_to = {"method": "ListUsers", "caller": principal.id, "matching": repr(matching)}
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)
        async with self._database.reading() as connection:
            found = await self._store.list_users(connection, matching, request)
        return request.page(found, lambda user: [user.id])

    async def get_user(self, *, user_id: str) -> UserDetails:
        """Return a user. Raises UserNotFound."""
        async with self._database.reading() as connection:
            user = await self._account_store.find_user(connection, user_id)
            if user is None:
                raise UserNotFound
            subjects = await self._subjects(connection, user)
            wait_end = await self._failures.find_wait_end(connection, subjects=subjects)
            return UserDetails(user, wait_end, await self._erasures.find_erasure(connection, user_id))

    async def set_user_role(self, *, user_id: str, role: Role) -> User:
        """Assign a role, and end the access tokens with the former one.

        Raises UserNotFound, UserDeleting, LastAdministrator.
        """

        async def work(connection: AsyncConnection) -> User:
            user = await self._lock_user(connection, user_id)
            if user.role is role:
                return user
            await self._accounts.keep_administrator(connection, user=user)
            await self._revocations.end_user(connection, user_id=user_id, cause=Cause.ROLE_CHANGED)
            changed = await self._account_store.update_role(connection, user_id, role)
            await record(connection, action=Action.USER_SET_ROLE, target=f"users/{user_id}")
            await self._mail.notify(connection, kind=Kind.ROLE_CHANGED, user=changed)
            return changed

        return await self._database.transaction(work)

    async def disable_user(self, *, user_id: str) -> User:
        """End everything of the user's and let them sign in no more. Raises as `set_user_role`."""

        async def work(connection: AsyncConnection) -> User:
            user = await self._lock_user(connection, user_id)
            if user.state is UserState.DISABLED:
                return user
            await self._accounts.keep_administrator(connection, user=user)
            await self._revocations.end_user(connection, user_id=user_id, cause=Cause.USER_DISABLED)
            await self._links.revoke(connection, user_id=user_id)
            changed = await self._account_store.update_state(connection, user_id, UserState.DISABLED)
            await record(connection, action=Action.USER_DISABLE, target=f"users/{user_id}")
            await self._mail.notify(connection, kind=Kind.ACCOUNT_DISABLED, user=changed)
            return changed

        return await self._database.transaction(work)

    async def enable_user(self, *, user_id: str) -> User:
        """Let a disabled user sign in again. Raises UserNotFound, UserDeleting."""

        async def work(connection: AsyncConnection) -> User:
            user = await self._lock_user(connection, user_id)
            if user.state is UserState.ACTIVE:
                return user
            changed = await self._account_store.update_state(connection, user_id, UserState.ACTIVE)
            await record(connection, action=Action.USER_ENABLE, target=f"users/{user_id}")
            await self._mail.notify(connection, kind=Kind.ACCOUNT_ENABLED, user=changed)
            return changed

        return await self._database.transaction(work)

    async def unlock_user(self, *, user_id: str) -> User:
        """Forget the failed attempts to sign in to an account, and end its waits. Raises UserNotFound, UserDeleting."""

        async def work(connection: AsyncConnection) -> User:
            user = await self._lock_user(connection, user_id)
            await self._failures.clear(connection, subjects=await self._subjects(connection, user))
            await record(connection, action=Action.USER_UNLOCK, target=f"users/{user_id}")
            return user

        return await self._database.transaction(work)

    def list_roles(self) -> Sequence[RolePermissions]:
        """Return the roles with their permissions."""
        return [RolePermissions(role, self._permissions[role]) for role in Role]

    async def _lock_user(self, connection: AsyncConnection, user_id: str) -> User:
        """Return a user whom the caller may change, and whom nobody else changes before the commit."""
        account = await self._account_store.lock_account(connection, user_id)
        if account is None:
            raise UserNotFound
        if account.user.state is UserState.DELETING:
            raise UserDeleting
        return account.user

    async def _subjects(self, connection: AsyncConnection, user: User) -> Sequence[Subject]:
        """Return what failed attempts to sign in to an account are counted for, without where they come from."""
        device_ids = await self._devices.list_ids(connection, user_id=user.id)
        return [
            Subject(SubjectKind.ACCOUNT, EmailAddress(user.email).folded),
            Subject(SubjectKind.CODES, user.id),
            *(Subject(SubjectKind.DEVICE, device_id) for device_id in device_ids),
        ]
