"""Conversion between sessions' tokens and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azora.auth.v1 import auth_service_pb2 as pb

from services.auth.accounts.convert import user
from services.auth.accounts.model import single_line
from services.shared.errors import ValidationFailed

if TYPE_CHECKING:
    from services.auth.sign_in.model import SignedIn


def register_response(signed_in: SignedIn) -> pb.RegisterResponse:
    """Return the new account's session."""
    return pb.RegisterResponse(**_session(signed_in))


def login_response(signed_in: SignedIn) -> pb.LoginResponse:
    """Return the new session."""
    return pb.LoginResponse(**_session(signed_in))


def refresh_response(signed_in: SignedIn) -> pb.RefreshResponse:
    """Return the session with its new tokens."""
    return pb.RefreshResponse(**_session(signed_in))


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
