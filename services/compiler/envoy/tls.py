"""Mutual TLS 1.3 with SPIFFE identities, in both directions, and plain TLS on the public port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.compiler.envoy.discovery import MESH_AUTHORITY, MESH_CERTIFICATE, PUBLIC_CERTIFICATE, source
from services.compiler.envoy.typed import Json, extension
from services.shared.principal import TRUST_DOMAIN

if TYPE_CHECKING:
    from services.compiler.envoy.profiles import Profile

TRANSPORT = "envoy.transport_sockets.tls"
MESSAGES = "envoy.extensions.transport_sockets.tls.v3"
# Both ends of the range: with a minimum alone, Envoy's own health checks fail to connect.
TLS_1_3 = {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}


def identity(service: str) -> str:
    """Return the SPIFFE id of a service."""
    return f"{TRUST_DOMAIN}/{service}"


def mesh_server(profile: Profile) -> Json:
    """Return what the internal listener asks of its callers: a certificate of our trust domain."""
    return extension(
        TRANSPORT,
        f"{MESSAGES}.DownstreamTlsContext",
        require_client_certificate=True,
        common_tls_context=_context(profile, {"prefix": f"{TRUST_DOMAIN}/"}, "h2"),
    )


def mesh_client(profile: Profile, service: str, protocol: str) -> Json:
    """Return how Envoy connects to a service: with its own certificate, and to that service's alone."""
    return extension(
        TRANSPORT,
        f"{MESSAGES}.UpstreamTlsContext",
        sni=service,
        common_tls_context=_context(profile, {"exact": identity(service)}, protocol),
    )


def public_server(profile: Profile) -> Json:
    """Return TLS for the public port, 1.2 at least."""
    return extension(
        TRANSPORT,
        f"{MESSAGES}.DownstreamTlsContext",
        common_tls_context={
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificate_sds_secret_configs": [_secret(profile, PUBLIC_CERTIFICATE)],
        },
    )


def _context(profile: Profile, peer: Json, protocol: str) -> Json:
    return {
        "alpn_protocols": [protocol],
        "tls_params": TLS_1_3,
        "tls_certificate_sds_secret_configs": [_secret(profile, MESH_CERTIFICATE)],
        "combined_validation_context": {
            "default_validation_context": {
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": peer}],
            },
            "validation_context_sds_secret_config": _secret(profile, MESH_AUTHORITY),
        },
    }


def _secret(profile: Profile, name: str) -> Json:
    """Return a secret that is read anew when its files change: a certificate in the bootstrap is read once."""
    return {"name": name, "sds_config": source(profile, name)}
