"""The mesh's certificate authority, and a certificate with a SPIFFE identity for each of its processes."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.compiler.contract import ENVOY, GATEWAY, load_contract
from services.deployment.files import write_private_together
from services.shared.principal import TRUST_DOMAIN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

AUTHORITY = "ca"
AUTHORITY_LIFE = dt.timedelta(days=3650)
AUTHORITY_MARGIN = dt.timedelta(days=30)
"""An authority with less left than this is replaced."""
CERTIFICATE_LIFE = dt.timedelta(days=90)
RENEWED_SHARE = 1 / 3
"""A certificate is renewed when this share of its lifetime is left."""
BACKDATED = dt.timedelta(minutes=5)
"""Machines' clocks differ a little."""

Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]
"""A certificate with its private key."""


def identities() -> tuple[str, ...]:
    """Return the names of all that has an identity on the mesh."""
    return (*load_contract().owners, GATEWAY, ENVOY)


class AuthorityMissingError(Exception):
    """The mesh's certificate authority is missing, broken or expired."""


def ensure_pki(
    folder: Path, names: Sequence[str] | None = None, *, lifetime: dt.timedelta = CERTIFICATE_LIFE
) -> list[str]:
    """Put ca.crt, ca.key and <name>.crt, <name>.key for each name into `folder` (0700), and return whose are new.

    What is there and good stays; a new authority renews every certificate.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    renewed = []
    if _read(folder, AUTHORITY, AUTHORITY_MARGIN) is None:
        _write(folder, {AUTHORITY: _make_authority()})
        renewed.append(AUTHORITY)
    return renewed + renew_certificates(folder, names, lifetime=lifetime)


def renew_certificates(
    folder: Path, names: Sequence[str] | None = None, *, lifetime: dt.timedelta = CERTIFICATE_LIFE
) -> list[str]:
    """Renew each certificate that is missing, broken, near its end or valid for longer than `lifetime`.

    Returns whose are new. The authority stays: no peer needs to learn of another one. Raises AuthorityMissingError.
    """
    authority = _read(folder, AUTHORITY)
    if authority is None:
        raise AuthorityMissingError
    renewed = {}
    for name in names or identities():
        pair = _read(folder, name, lifetime * RENEWED_SHARE)
        if pair is None or _left(pair[0]) > lifetime or not _issued(pair[0], name, authority[0]):
            renewed[name] = _issue(name, authority, lifetime)
    _write(folder, renewed)
    return list(renewed)


def _read(folder: Path, name: str, margin: dt.timedelta = dt.timedelta()) -> Pair | None:
    """Return the certificate and key of that name; None if missing, broken, unmatched or valid for `margin` at most."""
    return _read_pair(folder / f"{name}.crt", folder / f"{name}.key", margin)


def _read_pair(certificate_file: Path, key_file: Path, margin: dt.timedelta = dt.timedelta()) -> Pair | None:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    return (certificate, key) if _left(certificate) > margin else None


def identity_names(certificate: Path) -> tuple[list[str], list[str]]:
    """Return the SPIFFE identities and the DNS names of a certificate."""
    parsed = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier), names.get_values_for_type(x509.DNSName)


def is_valid(certificate: Path, key: Path) -> bool:
    """Whether a certificate has this key and has not expired."""
    return _read_pair(certificate, key) is not None


def _left(certificate: x509.Certificate) -> dt.timedelta:
    return certificate.not_valid_after_utc - _now()


def _issued(certificate: x509.Certificate, name: str, authority: x509.Certificate) -> bool:
    """Whether this authority issued the certificate to `name`."""
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001 - InvalidSignature, TypeError and ValueError alike say no
        return False
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names == _alternative_names(name)


def _write(folder: Path, pairs: Mapping[str, Pair]) -> None:
    """Write each key and then its certificate: whoever sees a certificate change finds its key beside it."""
    contents = {}
    for name, (certificate, key) in pairs.items():
        contents[folder / f"{name}.key"] = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        contents[folder / f"{name}.crt"] = certificate.public_bytes(serialization.Encoding.PEM)
    write_private_together(contents)


def _make_authority() -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Azora mesh authority")])
    domain = TRUST_DOMAIN.removeprefix("spiffe://").partition("/")[0]
    builder = (
        _builder(name, key, AUTHORITY_LIFE)
        .subject_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{domain}")]), critical=False
        )
    )
    return builder.sign(key, hashes.SHA256()), key


def _issue(name: str, authority: Pair, lifetime: dt.timedelta) -> Pair:
    """Return a new key and its certificate from the authority, with the SPIFFE identity of `name`."""
    issuer, issuer_key = authority
    key = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = (
        _builder(issuer.subject, key, lifetime)
        .subject_name(x509.Name([]))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(identifier, critical=False)
        # Critical, as RFC 5280 asks where the subject is empty: the identity is the SPIFFE name alone.
        .add_extension(_alternative_names(name), critical=True)
    )
    return builder.sign(issuer_key, hashes.SHA256()), key


def _builder(issuer: x509.Name, key: ec.EllipticCurvePrivateKey, life: dt.timedelta) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - BACKDATED)
        .not_valid_after(_now() + life)
    )


def _alternative_names(name: str) -> x509.SubjectAlternativeName:
    """Return the SPIFFE identity that Envoy checks, and the DNS names that Python's clients do."""
    identity = x509.UniformResourceIdentifier(f"{TRUST_DOMAIN}/{name}")
    return x509.SubjectAlternativeName([identity, x509.DNSName("localhost"), x509.DNSName(name)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
