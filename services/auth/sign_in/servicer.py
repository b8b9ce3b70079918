"""AuthService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import auth_service_pb2 as pb
from azora.auth.v1 import auth_service_pb2_grpc

from services.auth.accounts import convert as accounts_convert
from services.auth.email_addresses import convert as email_addresses_convert
from services.auth.exports import convert as exports_convert
from services.auth.sign_in import convert
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.api.httpbody_pb2 import HttpBody

    from interceptors.base import Context
    from services.auth.accounts.operations import AccountOperations
    from services.auth.email_addresses.operations import EmailAddressOperations
    from services.auth.password_changes.operations import PasswordChangeOperations
    from services.auth.personal_data import PersonalData
    from services.auth.sign_in.operations import SignInOperations


class AuthServicer(auth_service_pb2_grpc.AuthServiceServicer):
    """Registration, authentication and the caller's own profile."""

    def __init__(
        self,
        operations: SignInOperations,
        accounts: AccountOperations,
        password_changes: PasswordChangeOperations,
        email_addresses: EmailAddressOperations,
        personal_data: PersonalData,
    ) -> None:
        self._operations = operations
        self._accounts = accounts
        self._password_changes = password_changes
        self._email_addresses = email_addresses
        self._personal_data = personal_data

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
                principal=current_principal(),
                email=request.email,
                password=request.password,
                device_name=convert.device_name(request),
                device_token=request.device_token,
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

    async def ChangePassword(self, request: pb.ChangePasswordRequest, context: Context) -> pb.ChangePasswordResponse:
        await self._password_changes.change_password(
            principal=current_principal(),
            current_password=request.current_password,
            new_password=request.new_password,
            code=request.code,
        )
        return pb.ChangePasswordResponse()

    async def RequestPasswordReset(
        self, request: pb.RequestPasswordResetRequest, context: Context
    ) -> pb.RequestPasswordResetResponse:
        await self._password_changes.request_password_reset(email=request.email)
        return pb.RequestPasswordResetResponse()

    async def ResetPassword(self, request: pb.ResetPasswordRequest, context: Context) -> pb.ResetPasswordResponse:
        await self._password_changes.reset_password(token=request.token, new_password=request.new_password)
        return pb.ResetPasswordResponse()

    async def RequestEmailVerification(
        self, request: pb.RequestEmailVerificationRequest, context: Context
    ) -> pb.RequestEmailVerificationResponse:
        await self._email_addresses.request_email_verification(principal=current_principal())
        return pb.RequestEmailVerificationResponse()

    async def VerifyEmail(self, request: pb.VerifyEmailRequest, context: Context) -> pb.VerifyEmailResponse:
        return email_addresses_convert.verify_email_response(
            await self._email_addresses.verify_email(token=request.token)
        )

    async def ChangeEmail(self, request: pb.ChangeEmailRequest, context: Context) -> pb.ChangeEmailResponse:
        await self._email_addresses.change_email(
            principal=current_principal(), email=request.email, password=request.password, code=request.code
        )
        return pb.ChangeEmailResponse()

    def ExportMyData(self, request: pb.ExportMyDataRequest, context: Context) -> AsyncIterator[HttpBody]:
        return exports_convert.export_chunks(self._personal_data.exports.export_my_data(principal=current_principal()))

    async def DeleteMyAccount(self, request: pb.DeleteMyAccountRequest, context: Context) -> pb.DeleteMyAccountResponse:
        await self._personal_data.erasures.delete_my_account(
            principal=current_principal(),
            password=request.password,
            code=request.code,
            forfeit_balance=request.forfeit_balance,
        )
        return pb.DeleteMyAccountResponse()
