"""MfaService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import mfa_service_pb2 as pb
from azora.auth.v1 import mfa_service_pb2_grpc

from services.auth.mfa import convert
from services.auth.sign_in.convert import verify_challenge_response
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.auth.mfa.operations import MfaOperations
    from services.auth.sign_in.operations import SignInOperations


class MfaServicer(mfa_service_pb2_grpc.MfaServiceServicer):
    """Second factors, and the sign-ins that they complete."""

    def __init__(self, operations: MfaOperations, sign_in: SignInOperations) -> None:
        self._operations = operations
        self._sign_in = sign_in

    async def GetMfa(self, request: pb.GetMfaRequest, context: Context) -> pb.GetMfaResponse:
        return convert.get_mfa_response(await self._operations.get_mfa(principal=current_principal()))

    async def EnrollTotp(self, request: pb.EnrollTotpRequest, context: Context) -> pb.EnrollTotpResponse:
        return convert.enroll_totp_response(
            await self._operations.enroll_totp(principal=current_principal(), password=request.password)
        )

    async def ConfirmTotp(self, request: pb.ConfirmTotpRequest, context: Context) -> pb.ConfirmTotpResponse:
        return convert.confirm_totp_response(
            await self._operations.confirm_totp(principal=current_principal(), code=request.code)
        )

    async def DisableTotp(self, request: pb.DisableTotpRequest, context: Context) -> pb.DisableTotpResponse:
        await self._operations.disable_totp(principal=current_principal(), password=request.password, code=request.code)
        return pb.DisableTotpResponse()

    async def VerifyChallenge(self, request: pb.VerifyChallengeRequest, context: Context) -> pb.VerifyChallengeResponse:
        return verify_challenge_response(
            await self._sign_in.verify_challenge(
                principal=current_principal(), challenge_id=request.challenge_id, code=request.code
            )
        )

    async def RegenerateRecoveryCodes(
        self, request: pb.RegenerateRecoveryCodesRequest, context: Context
    ) -> pb.RegenerateRecoveryCodesResponse:
        return convert.regenerate_recovery_codes_response(
            await self._operations.regenerate_recovery_codes(
                principal=current_principal(), password=request.password, code=request.code
            )
        )
