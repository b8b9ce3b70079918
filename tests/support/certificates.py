"""Certificates with the lifetimes that tests need, issued by an authority of services.deployment.pki."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from azora.client import MeshIdentity
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from services.deployment.files import write_private
from services.shared.principal import TRUST_DOMAIN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def issue(
    pki: Path,
    folder: Path,
    name: str,
    *,
    life_seconds: float = 3600,
    identity: str = "",
    dns: Sequence[str] = (),
) -> MeshIdentity:
    """Issue a certificate and write it to `folder` under a name; return its files.

    It has the identity (URI) and the DNS names of the service of that name, unless others are given.
    """
    authority = x509.load_pem_x509_certificate((pki / "ca.crt").read_bytes())
    authority_key = load_pem_private_key((pki / "ca.key").read_bytes(), password=None)
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    end = now + dt.timedelta(seconds=life_seconds)
    names = [
        x509.UniformResourceIdentifier(identity or f"{TRUST_DOMAIN}/{name}"),
        *(x509.DNSName(host) for host in dns or ("localhost", name)),
    ]
    certificate = (
        x509.CertificateBuilder()
        .issuer_name(authority.subject)
        .subject_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, end) - dt.timedelta(minutes=1))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    write_private(folder / f"{name}.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    write_private(folder / f"{name}.crt", certificate.public_bytes(Encoding.PEM))
    return MeshIdentity(folder / f"{name}.crt", folder / f"{name}.key", pki / "ca.crt")


def serial_number(path: Path) -> int:
    """Return the serial number of a certificate file."""
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


def expired(path: Path) -> bool:
    """Whether a certificate's time is over."""
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc < dt.datetime.now(dt.UTC)
