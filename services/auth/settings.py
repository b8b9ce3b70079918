"""Settings of Auth."""

from __future__ import annotations

import re
from email.utils import parseaddr
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from services.auth.failures.model import FailureLimit, SubjectKind
from services.shared.settings import ServiceSettings, require_https
from services.shared.tokens import MAX_TOKEN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MIN_BCRYPT_COST = 10
"""OWASP Password Storage Cheat Sheet: a work factor of 10 or more."""
SMTP_SCHEMES = ("smtp", "smtps", "smtp+plain")
PRINTABLE = re.compile(r"[ -~]+")
WebUrl = Annotated[str, Field(pattern=r"^(https?://[^\s/?#]+(/[^\s?#]*)?)?$")]


class AuthSettings(ServiceSettings):
    """Settings of Auth, as environment variables with the prefix AZORA_."""

    bcrypt_cost: Annotated[int, Field(ge=4, le=16)] = 12
    """bcrypt work factor, logarithmic (base 2). Must be at least 10 in production."""
    access_token_seconds: Annotated[int, Field(ge=60, le=MAX_TOKEN_SECONDS)] = 900
    """Access token lifetime in seconds."""
    signing_key_days: Annotated[float, Field(gt=0, le=3650)] = 90
    """Days after which the active signing key is replaced."""
    signing_key_cache_seconds: Annotated[float, Field(gt=0, le=60)] = 5
    """Maximum age of the cached active signing key in each Auth process."""
    session_idle_days: Annotated[int, Field(ge=1, le=365)] = 30
    """Idle session timeout in days, reset by every refresh."""
    session_days: Annotated[int, Field(ge=1, le=365)] = 90
    """Absolute session lifetime in days."""
    device_idle_days: Annotated[int, Field(ge=1, le=3650)] = 365
    """Time in days after which an unused known device is forgotten."""
    account_max_failures: Annotated[int, Field(ge=1, le=100)] = 5
    """Failed attempts before the first wait of 30 seconds; each further one doubles the wait. Counted per account, per
    known device, per account's second factor, and per session that confirms a change."""
    address_max_failures: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Failed attempts from a network address (IPv4 or IPv6 /64) before the first wait. One is forgotten each minute."""
    max_wait_seconds: Annotated[int, Field(ge=30, le=86_400)] = 900
    """Maximum wait after failed attempts in seconds, and time after which one failure of an account is forgotten."""

    registration_requires_verified_email: bool | None = None
    """Whether an account is created only once its e-mail address is verified by a link. Register then does not reveal
    whether the address has an account. Defaults to true in production and false in development."""
    web_url: WebUrl = ""
    """Base URL of the web pages to which mails link. Must be https in production unless on localhost. Defaults to
    AZORA_PUBLIC_URL."""
    smtp_url: SecretStr | None = None
    """URL of the SMTP server: `smtp://USER:PASSWORD@HOST:587` with STARTTLS, `smtps://HOST:465` with implicit TLS, or
    `smtp+plain://127.0.0.1:25` without TLS. Without it, mails are not sent; development keeps the last 100."""
    mail_from: str = "Azora <no-reply@azora.local>"
    """Sender of mails: an e-mail address, optionally with a display name."""
    email_undo_hours: Annotated[int, Field(ge=1, le=720)] = 72
    """Lifetime in hours of the link that restores the former e-mail address after a change."""
    mail_link_minutes: Annotated[int, Field(ge=1, le=60)] = 10
    """Lifetime in minutes of all other links in mails."""

    erasure_delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 75
    """Delay in seconds between the deletion of an account and the erasure of its data, which outlasts calls in
    progress, the time until access tokens are rejected everywhere, and the minute over which denied calls are counted
    before the audit log records them with their network address."""

    def failure_limits(self) -> Mapping[SubjectKind, FailureLimit]:
        """Return the limits of failed attempts; AZORA_RATE_LIMIT_SCALE multiplies their number."""
        scale = self.rate_limit_scale

        def limit(max_failures: int, forget_seconds: float) -> FailureLimit:
            return FailureLimit(max(1, int(max_failures * scale)), self.max_wait_seconds, forget_seconds)

        account, address = limit(self.account_max_failures, self.max_wait_seconds), limit(self.address_max_failures, 60)
        return {kind: address if kind is SubjectKind.ADDRESS else account for kind in SubjectKind}

    @property
    def pending_registrations(self) -> bool:
        """Whether a registration waits for its e-mail address to be verified."""
        required = self.registration_requires_verified_email
        return self.production if required is None else required

    @property
    def pages_url(self) -> str:
        """Base URL of web pages, without a trailing slash."""
        return (self.web_url or self.public_url).rstrip("/")

    @field_validator("smtp_url")
    @classmethod
    def _smtp_url_is_valid(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        parts = urlsplit(value.get_secret_value())
        if parts.scheme not in SMTP_SCHEMES or not parts.hostname or parts.path.strip("/"):
            raise ValueError("must be smtp://HOST:PORT, smtps://HOST:PORT or smtp+plain://HOST:PORT")
        return value

    @field_validator("mail_from")
    @classmethod
    def _sender_is_valid(cls, value: str) -> str:
        if not PRINTABLE.fullmatch(value) or "@" not in parseaddr(value)[1]:
            raise ValueError("must be an e-mail address: no-reply@example.com, or Azora <no-reply@example.com>")
        return value

    def insecure(self) -> Iterator[str]:
        """Yield what production refuses."""
        yield from super().insecure()
        smtp_url = self.smtp_url.get_secret_value() if self.smtp_url else ""
        if smtp_url.startswith("smtp+plain:") and not _is_loopback(urlsplit(smtp_url).hostname or ""):
            yield "AZORA_SMTP_URL must use TLS in production, or a server on this host"
        if self.web_url:
            yield from require_https("AZORA_WEB_URL", self.web_url)
        if self.bcrypt_cost < MIN_BCRYPT_COST:
            yield f"AZORA_BCRYPT_COST must be at least {MIN_BCRYPT_COST} in production"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
