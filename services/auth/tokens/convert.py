"""Conversion between signing keys, discovery metadata and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import token_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.signing_keys.model import PublicKey
    from services.auth.tokens.model import Discovery


def get_jwks_response(keys: Sequence[PublicKey]) -> pb.GetJwksResponse:
    """Return the keys as a JSON Web Key Set."""
    return pb.GetJwksResponse(keys=[pb.Jwk(**key.jwk()) for key in keys])


def get_open_id_configuration_response(discovery: Discovery) -> pb.GetOpenIdConfigurationResponse:
    """Return the discovery document."""
    return pb.GetOpenIdConfigurationResponse(
        issuer=discovery.issuer,
        jwks_uri=discovery.jwks_uri,
        id_token_signing_alg_values_supported=discovery.algorithms,
        subject_types_supported=["public"],
    )
