"""Conversion between second factors and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import mfa_pb2
from azora.auth.v1 import mfa_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.factors.model import FactorStatus
    from services.auth.mfa.model import Enrollment


def mfa(status: FactorStatus) -> mfa_pb2.Mfa:
    """Return the message of a user's factors."""
    return mfa_pb2.Mfa(totp_enabled=status.totp_enabled, recovery_codes_left=status.recovery_codes_left)


def get_mfa_response(status: FactorStatus) -> pb.GetMfaResponse:
    """Return the factors."""
    return pb.GetMfaResponse(mfa=mfa(status))


def enroll_totp_response(enrollment: Enrollment) -> pb.EnrollTotpResponse:
    """Return the secret, for people and for authenticators."""
    return pb.EnrollTotpResponse(secret=enrollment.base32, uri=enrollment.uri)


def confirm_totp_response(recovery_codes: Sequence[str]) -> pb.ConfirmTotpResponse:
    """Return the recovery codes."""
    return pb.ConfirmTotpResponse(recovery_codes=recovery_codes)


def regenerate_recovery_codes_response(recovery_codes: Sequence[str]) -> pb.RegenerateRecoveryCodesResponse:
    """Return the new recovery codes."""
    return pb.RegenerateRecoveryCodesResponse(recovery_codes=recovery_codes)
