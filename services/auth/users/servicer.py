"""UserService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import user_service_pb2 as pb
from azora.auth.v1 import user_service_pb2_grpc

from services.auth.users import convert
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.auth.erasures.operations import ErasureOperations
    from services.auth.users.operations import UserOperations


class UserServicer(user_service_pb2_grpc.UserServiceServicer):
    """Administration of user accounts."""

    def __init__(self, operations: UserOperations, erasures: ErasureOperations) -> None:
        self._operations = operations
        self._erasures = erasures

    async def ListUsers(self, request: pb.ListUsersRequest, context: Context) -> pb.ListUsersResponse:
        page = await self._operations.list_users(
            principal=current_principal(),
            matching=convert.user_filter(request),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return convert.list_users_response(page)

    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> pb.GetUserResponse:
        return convert.get_user_response(await self._operations.get_user(user_id=request.user_id))

    async def SetUserRole(self, request: pb.SetUserRoleRequest, context: Context) -> pb.SetUserRoleResponse:
        return convert.set_user_role_response(
            await self._operations.set_user_role(user_id=request.user_id, role=convert.to_role(request.role))
        )

    async def DisableUser(self, request: pb.DisableUserRequest, context: Context) -> pb.DisableUserResponse:
        return convert.disable_user_response(await self._operations.disable_user(user_id=request.user_id))

    async def EnableUser(self, request: pb.EnableUserRequest, context: Context) -> pb.EnableUserResponse:
        return convert.enable_user_response(await self._operations.enable_user(user_id=request.user_id))

    async def UnlockUser(self, request: pb.UnlockUserRequest, context: Context) -> pb.UnlockUserResponse:
        return convert.unlock_user_response(await self._operations.unlock_user(user_id=request.user_id))

    async def DeleteUser(self, request: pb.DeleteUserRequest, context: Context) -> pb.DeleteUserResponse:
        await self._erasures.delete_user(
            principal=current_principal(), user_id=request.user_id, forfeit_balance=request.forfeit_balance
        )
        return pb.DeleteUserResponse()

    async def ListRoles(self, request: pb.ListRolesRequest, context: Context) -> pb.ListRolesResponse:
        return convert.list_roles_response(self._operations.list_roles())
