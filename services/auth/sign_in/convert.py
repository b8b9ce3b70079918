"""Conversion between sessions' tokens and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azora.auth.v1 import auth_service_pb2 as pb
from azora.auth.v1 import mfa_pb2, mfa_service_pb2

from services.auth.accounts.convert import user
from services.auth.accounts.model import single_line
from services.auth.factors.model import IssuedChallenge
from services.shared.convert import timestamp
from services.shared.errors import ValidationFailed

if TYPE_CHECKING:
    from services.auth.sign_in.model import SignedIn


def register_response(signed_in: SignedIn | None) -> pb.RegisterResponse:
    """Return the new account's session; nothing for a registration that waits for its address to be verified."""
    return pb.RegisterResponse(**_new_session(signed_in)) if signed_in else pb.RegisterResponse()


def login_response(outcome: SignedIn | IssuedChallenge) -> pb.LoginResponse:
    """Return the new session, or the challenge that it depends on."""
    if isinstance(outcome, IssuedChallenge):
        challenge = mfa_pb2.MfaChallenge(id=outcome.id, expire_time=timestamp(outcome.expire_time))
        return pb.LoginResponse(mfa_challenge=challenge)
    return pb.LoginResponse(**_new_session(outcome))


def verify_challenge_response(signed_in: SignedIn) -> mfa_service_pb2.VerifyChallengeResponse:
    """Return the new session."""
    return mfa_service_pb2.VerifyChallengeResponse(**_new_session(signed_in))


def refresh_response(signed_in: SignedIn) -> pb.RefreshResponse:
    """Return the session with its new tokens."""
    return pb.RefreshResponse(**_session(signed_in))


def _new_session(signed_in: SignedIn) -> dict[str, Any]:
    return _session(signed_in) | {"device_token": signed_in.device_token or None}


def _session(signed_in: SignedIn) -> dict[str, Any]:
    return {
        "access_token": signed_in.access_token,
        "refresh_token": signed_in.refresh_token,
        "expires_in": signed_in.expires_in_seconds,
        "user": user(signed_in.user),
    }


def device_name(request: pb.LoginRequest | pb.RegisterRequest) -> str:
    """Return the name that the client gives its device; empty without one. Raises ValidationFailed."""
    name = single_line(request.device_name)
    if name is None:
        raise ValidationFailed.field("deviceName", "must not contain line breaks or control characters")
    return name
