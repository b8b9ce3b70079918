"""The mesh's certificate authority and identities, issued and renewed by cert-manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.compiler.envoy.tls import identity
from services.compiler.kubernetes.resources import Json, identity_secret, resource
from services.shared.principal import TRUST_DOMAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

API = "cert-manager.io/v1"
AUTHORITY = "mesh-authority"
ISSUER = "mesh"
KEY = {"algorithm": "ECDSA", "size": 256}


def resources(identities: Sequence[str]) -> list[Json]:
    """Return the authority and a Certificate for each identity."""
    domain = TRUST_DOMAIN.partition("/ns/")[0]
    return [
        resource(API, "Issuer", AUTHORITY, spec={"selfSigned": {}}),
        _certificate(
            AUTHORITY,
            AUTHORITY,
            issuer=AUTHORITY,
            isCA=True,
            commonName="Azora mesh authority",
            uris=[domain],
            usages=["cert sign", "crl sign"],
            duration="87600h",
            renewBefore="720h",
            # A renewed authority keeps its key: certificates that it issued stay valid.
            privateKey={**KEY, "rotationPolicy": "Never"},
        ),
        resource(API, "Issuer", ISSUER, spec={"ca": {"secretName": AUTHORITY}}),
        *(
            _certificate(
                identity_secret(name),
                identity_secret(name),
                issuer=ISSUER,
                uris=[identity(name)],
                dnsNames=[name, "localhost"],
                usages=["digital signature", "server auth", "client auth"],
                duration="24h",
                renewBefore="8h",
                privateKey={**KEY, "encoding": "PKCS8", "rotationPolicy": "Always"},
            )
            for name in identities
        ),
    ]


def _certificate(name: str, secret: str, *, issuer: str, **spec: Any) -> Json:
    reference = {"name": issuer, "kind": "Issuer", "group": "cert-manager.io"}
    content = {"secretName": secret, "revisionHistoryLimit": 1, "issuerRef": reference, **spec}
    return resource(API, "Certificate", name, spec=content)
