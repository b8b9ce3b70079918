"""Conversion between credentials and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import credential_service_pb2 as pb
from google.api import httpbody_pb2

from services.education.credentials.documents import BADGES_CONTEXT, CREDENTIALS_CONTEXT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.education.credentials.model import Issuer


def get_jwks_response(keys: Sequence[Mapping[str, str]]) -> pb.GetJwksResponse:
    """Return the keys as a JSON Web Key Set."""
    return pb.GetJwksResponse(keys=[pb.CredentialKey(**key) for key in keys])


def get_issuer_response(issuer: Issuer) -> pb.GetIssuerResponse:
    """Return the issuer's profile."""
    return pb.GetIssuerResponse(
        context=[CREDENTIALS_CONTEXT, BADGES_CONTEXT],
        id=issuer.id,
        type=["Profile"],
        name=issuer.name,
        url=issuer.base_url,
    )


def status_list_body(token: str) -> httpbody_pb2.HttpBody:
    """Return a signed status list as an HTTP body."""
    return httpbody_pb2.HttpBody(content_type="application/vc+jwt", data=token.encode())
