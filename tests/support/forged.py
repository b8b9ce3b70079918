"""Certificates that the mesh must not take, from its own authority and others."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

if TYPE_CHECKING:
    from pathlib import Path

DAY = dt.timedelta(days=1)


def issue(pki: Path, to: Path, identity: str, *, dns: str = "localhost", ends: dt.timedelta = DAY) -> None:
    """Write `to`.crt and `to`.key: a certificate for an identity (URI) from the authority in `pki`."""
    issuer = x509.load_pem_x509_certificate((pki / "ca.crt").read_bytes())
    authority = load_pem_private_key((pki / "ca.key").read_bytes(), None)
    assert isinstance(authority, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .issuer_name(issuer.subject)
        .subject_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * DAY)
        .not_valid_after(now + ends)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity), x509.DNSName(dns)]), critical=True
        )
        .sign(authority, hashes.SHA256())
    )
    to.with_suffix(".crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    to.with_suffix(".key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
