"""An administrator, who administers the users of a running Auth."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azora.auth.v1 import user_service_pb2 as pb
from azora.auth.v1 import user_service_pb2_grpc
from azora.client import bearer

from services.auth.admin import create_administrator
from tests.support.auth import PASSWORD
from tests.support.serving import channel_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from azora.auth.v1 import user_pb2
    from azora.policy.v1 import permission_pb2

    from tests.support.auth import RunningAuth

ADMIN = "admin@example.com"


@dataclass(frozen=True, slots=True)
class Administrator:
    """Calls UserService with an access token."""

    id: str
    stub: user_service_pb2_grpc.UserServiceAsyncStub
    token: str

    async def users(self, **request: Any) -> pb.ListUsersResponse:
        """List users."""
        return await self.stub.ListUsers(pb.ListUsersRequest(**request), metadata=bearer(self.token))

    async def names(self, **request: Any) -> list[str]:
        """Return the names of the users that a list has."""
        return [user.name for user in (await self.users(**request)).users]

    async def get(self, user_id: str) -> pb.GetUserResponse:
        """Get a user."""
        return await self.stub.GetUser(pb.GetUserRequest(user_id=user_id), metadata=bearer(self.token))

    async def set_role(self, user_id: str, role: permission_pb2.Role.ValueType) -> user_pb2.User:
        """Assign a role."""
        request = pb.SetUserRoleRequest(user_id=user_id, role=role)
        return (await self.stub.SetUserRole(request, metadata=bearer(self.token))).user

    async def disable(self, user_id: str) -> user_pb2.User:
        """Disable an account."""
        return (await self.stub.DisableUser(pb.DisableUserRequest(user_id=user_id), metadata=bearer(self.token))).user

    async def enable(self, user_id: str) -> user_pb2.User:
        """Enable an account."""
        return (await self.stub.EnableUser(pb.EnableUserRequest(user_id=user_id), metadata=bearer(self.token))).user

    async def unlock(self, user_id: str) -> user_pb2.User:
        """End the waits of an account."""
        return (await self.stub.UnlockUser(pb.UnlockUserRequest(user_id=user_id), metadata=bearer(self.token))).user


@asynccontextmanager
async def administering(auth: RunningAuth, email: str = ADMIN) -> AsyncIterator[Administrator]:
    """Make an administrator."""
    user_id = await create_administrator(auth.settings, email=email, password=PASSWORD, name="Nomsa")
    async with channel_to(auth.target) as channel:
        stub = user_service_pb2_grpc.UserServiceStub(channel)
        yield Administrator(user_id, stub, (await auth.login(email)).access_token)
