"""The public port as clients on this machine reach it, and what they trust where it has TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    import httpx
    from cryptography import x509
    from grpc import aio

LOOPBACK = "127.0.0.1"
LOCALHOST = "localhost"


@dataclass(frozen=True, slots=True)
class PublicPort:
    """Envoy's public port on the loopback interface."""

    port: int
    certificate: Path | None = None
    """The certificate chain (PEM) of a port with TLS. Commands on this machine trust it as it is, whoever issued it."""

    @property
    def host(self) -> str:
        """The host name or address in URLs; with TLS, a name of the certificate. Raises OSError, ValueError."""
        if self.certificate is None:
            return LOOPBACK
        names = dns_names(self.certificate)
        return LOCALHOST if LOCALHOST in names else names[0]

    @property
    def url(self) -> str:
        """The base URL. Raises OSError, ValueError."""
        return f"{'https' if self.certificate else 'http'}://{self.host}:{self.port}"

    @property
    def target(self) -> str:
        """The gRPC address."""
        return f"{LOOPBACK}:{self.port}"

    def http(self, *, timeout_seconds: float) -> httpx.AsyncClient:
        """Return a client of the JSON API."""
        import httpx  # noqa: PLC0415 - services read these settings without being clients

        scheme = "https" if self.certificate else "http"
        return httpx.AsyncClient(
            base_url=f"{scheme}://{self.target}", timeout=timeout_seconds, trust_env=False, verify=self._trust()
        )

    def channel(self) -> aio.Channel:
        """Return a channel for typed stubs."""
        from azora import client  # noqa: PLC0415 - see `http`

        if self.certificate is None:
            return client.connect(self.target)
        return client.connect(self.target, authority=self.certificate, server_name=self.host)

    def _trust(self) -> ssl.SSLContext:
        """Return what verifies the port: this very certificate; nothing without TLS, as loading authorities is slow."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.certificate is not None:
            context.check_hostname = False  # The port is called by its address.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.load_verify_locations(self.certificate)
        return context


def dns_names(certificate: Path) -> list[str]:
    """Return the DNS names of a certificate, without wildcards. Raises OSError; ValueError if there is none."""
    from cryptography import x509  # noqa: PLC0415 - takes as long as the rest of a command

    try:
        extension = _read(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = [name for name in extension.value.get_values_for_type(x509.DNSName) if not name.startswith("*")]
    except x509.ExtensionNotFound:
        names = []
    if not names:
        raise ValueError("it has no DNS name")
    return names


def expiry(certificate: Path) -> dt.datetime:
    """Return when a certificate expires. Raises OSError, ValueError."""
    return _read(certificate).not_valid_after_utc


def _read(certificate: Path) -> x509.Certificate:
    from cryptography import x509  # noqa: PLC0415 - see `dns_names`

    return x509.load_pem_x509_certificate(certificate.read_bytes())
