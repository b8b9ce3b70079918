"""Conversion between e-mail addresses and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import auth_service_pb2 as pb

if TYPE_CHECKING:
    from services.auth.email_addresses.model import Effect


def verify_email_response(effect: Effect) -> pb.VerifyEmailResponse:
    """Return what a link did."""
    return pb.VerifyEmailResponse(effect=pb.EmailLinkEffect.Value(effect))
