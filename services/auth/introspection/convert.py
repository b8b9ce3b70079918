"""Conversion between signing keys, discovery metadata, introspected tokens and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from azora.auth.v1 import token_service_pb2 as pb

from services.shared.errors import ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.introspection.model import Introspection
    from services.auth.signing_keys.model import PublicKey
    from services.auth.tokens.model import Discovery

MAX_FORM_FIELDS = 16


def token(request: pb.IntrospectRequest | pb.RevokeRequest) -> str:
    """Return the token of a form (RFC 7662, section 2.1; RFC 7009, section 2.1). Raises ValidationFailed."""
    text = request.body.data.decode(errors="replace")
    try:
        fields = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        raise ValidationFailed.field("body", f"must be a form of at most {MAX_FORM_FIELDS} fields") from None
    tokens: list[str] = [value for name, value in fields if name == "token"]
    if len(tokens) != 1 or not tokens[0]:
        raise ValidationFailed.field("token", "must be given once, as a field of the form")
    return tokens[0]


def get_jwks_response(keys: Sequence[PublicKey]) -> pb.GetJwksResponse:
    """Return the keys as a JSON Web Key Set."""
    return pb.GetJwksResponse(keys=[pb.Jwk(**key.jwk()) for key in keys])


def get_open_id_configuration_response(discovery: Discovery) -> pb.GetOpenIdConfigurationResponse:
    """Return the discovery document. Its paths are those of the RPCs' HTTP routes."""
    return pb.GetOpenIdConfigurationResponse(
        issuer=discovery.issuer,
        jwks_uri=f"{discovery.issuer}/.well-known/jwks.json",
        id_token_signing_alg_values_supported=discovery.algorithms,
        subject_types_supported=["public"],
        introspection_endpoint=f"{discovery.issuer}/oauth2/introspect",
        introspection_endpoint_auth_methods_supported=["Bearer"],
        revocation_endpoint=f"{discovery.issuer}/oauth2/revoke",
        revocation_endpoint_auth_methods_supported=["none"],
        scopes_supported=discovery.scopes,
        claims_supported=discovery.claims,
    )


def introspect_response(introspection: Introspection | None) -> pb.IntrospectResponse:
    """Return what a token is, or only that it is not valid."""
    return pb.IntrospectResponse(**_members(introspection))


def introspect_token_response(introspection: Introspection | None) -> pb.IntrospectTokenResponse:
    """Return the same for a typed client."""
    return pb.IntrospectTokenResponse(**_members(introspection))


def _members(found: Introspection | None) -> dict[str, Any]:
    if found is None:
        return {"active": False}
    return {
        "active": True,
        "scope": None if found.scopes is None else " ".join(found.scopes),
        "token_type": "Bearer" if found.token_id else None,
        "exp": found.expire_time,
        "iat": found.issue_time,
        "sub": found.user_id,
        "aud": found.audience or None,
        "iss": found.issuer or None,
        "jti": found.token_id or None,
        "sid": found.session_id,
    }
