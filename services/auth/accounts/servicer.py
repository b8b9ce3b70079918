"""AuthService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import auth_service_pb2 as pb
from azora.auth.v1.auth_service_pb2_grpc import AuthServiceServicer

from services.auth.accounts import convert
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from grpc.aio import ServicerContext

    from services.auth.accounts.operations import Accounts

    Context: TypeAlias = ServicerContext[Any, Any]


class AuthServicer(AuthServiceServicer):
    """Sign-in and one's own profile."""

    def __init__(self, operations: Accounts) -> None:
        self._operations = operations

    async def Register(self, request: pb.RegisterRequest, context: Context) -> pb.RegisterResponse:
        session = await self._operations.register(
            email=request.email, password=request.password, name=convert.person_name(request.name)
        )
        return convert.session(pb.RegisterResponse, session)

    async def Login(self, request: pb.LoginRequest, context: Context) -> pb.LoginResponse:
        session = await self._operations.login(email=request.email, password=request.password)
        return convert.session(pb.LoginResponse, session)

    async def Refresh(self, request: pb.RefreshRequest, context: Context) -> pb.RefreshResponse:
        session = await self._operations.refresh(refresh_token=request.refresh_token)
        return convert.session(pb.RefreshResponse, session)

    async def Logout(self, request: pb.LogoutRequest, context: Context) -> pb.LogoutResponse:
        await self._operations.logout(principal=current_principal())
        return pb.LogoutResponse()

    async def GetProfile(self, request: pb.GetProfileRequest, context: Context) -> pb.GetProfileResponse:
        user = await self._operations.profile(principal=current_principal())
        return pb.GetProfileResponse(user=convert.user(user))

    async def UpdateProfile(self, request: pb.UpdateProfileRequest, context: Context) -> pb.UpdateProfileResponse:
        user = await self._operations.update_profile(
            principal=current_principal(), changes=convert.profile_changes(request)
        )
        return pb.UpdateProfileResponse(user=convert.user(user))
