"""AuthService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import auth_service_pb2 as pb
from azora.auth.v1 import auth_service_pb2_grpc

from services.auth.accounts import convert as accounts_convert
from services.auth.sign_in import convert
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.auth.accounts.operations import AccountOperations
    from services.auth.sign_in.operations import SignInOperations


class AuthServicer(auth_service_pb2_grpc.AuthServiceServicer):
    """Registration, authentication and the caller's own profile."""

    def __init__(self, operations: SignInOperations, accounts: AccountOperations) -> None:
        self._operations = operations
        self._accounts = accounts

    async def Register(self, request: pb.RegisterRequest, context: Context) -> pb.RegisterResponse:
        return convert.register_response(
            await self._operations.register(
                email=request.email,
                password=request.password,
                name=request.name,
                device_name=convert.device_name(request),
            )
        )

    async def Login(self, request: pb.LoginRequest, context: Context) -> pb.LoginResponse:
        return convert.login_response(
            await self._operations.login(
                email=request.email, password=request.password, device_name=convert.device_name(request)
            )
        )

    async def Refresh(self, request: pb.RefreshRequest, context: Context) -> pb.RefreshResponse:
        return convert.refresh_response(await self._operations.refresh(refresh_token=request.refresh_token))

    async def Logout(self, request: pb.LogoutRequest, context: Context) -> pb.LogoutResponse:
        await self._operations.logout(principal=current_principal(), refresh_token=request.refresh_token)
        return pb.LogoutResponse()

    async def GetProfile(self, request: pb.GetProfileRequest, context: Context) -> pb.GetProfileResponse:
        return accounts_convert.get_profile_response(await self._accounts.get_profile(principal=current_principal()))

    async def UpdateProfile(self, request: pb.UpdateProfileRequest, context: Context) -> pb.UpdateProfileResponse:
        return accounts_convert.update_profile_response(
            await self._accounts.update_profile(
                principal=current_principal(), changes=accounts_convert.profile_changes(request)
            )
        )
