"""Settings of Payment."""

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from services.shared.settings import ServiceSettings

NEW_WALLET_MAX_AMOUNT = 100
"""Limit of a new wallet in production, in whole units of a currency."""

OWN_NETWORKS = tuple(map(ip_network, ("127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10", "0.0.0.0/8", "::/128")))
"""A machine's own addresses, loopback and link-local; connections to the unspecified ones are to loopback."""


class PaymentSettings(ServiceSettings):
    """Settings of Payment, as environment variables with the prefix AZORA_."""

    refund_window_days: Annotated[int, Field(ge=0, le=3650)] = 14
    """Refund window of a payment in days, for its payer."""
    max_watchers: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """Maximum number of concurrent watches per process: WatchProgress in Education, WatchTransactions in Payment."""
    max_watchers_per_user: Annotated[int, Field(ge=1, le=1000)] = 10
    """Maximum number of concurrent watches per user and process."""
    refund_settle_after_seconds: Annotated[float, Field(gt=0, le=3600)] = 15
    """Delay before the recovery job settles a refund whose decision was interrupted."""
    velocity_window_hours: Annotated[float, Field(gt=0, le=720)] = 24
    """Window of the velocity limits in hours. Begins with a wallet's first debit after the window before."""
    velocity_max_amount: Annotated[int, Field(ge=1, le=10**12)] = 10_000
    """Maximum sum of the payments, holds and transfers that a user makes from a wallet in a window, in whole units of
    their currency."""
    velocity_max_debits: Annotated[int, Field(ge=1, le=10**6)] = 1_000
    """Maximum number of the payments, holds and transfers that a user makes from a wallet in a currency in a window."""
    new_wallet_days: Annotated[float, Field(ge=0, le=365)] = 7
    """Age in days below which a wallet is new."""
    new_wallet_max_amount: Annotated[int | None, Field(ge=0)] = None
    """Limit of a new wallet, as AZORA_VELOCITY_MAX_AMOUNT, above which its transfers are rejected. Defaults to 100 in
    production and to AZORA_VELOCITY_MAX_AMOUNT in development."""
    transfers_require_verified_email: bool | None = None
    """Whether transfers require a verified e-mail address (claim `email_verified` of the access token). Defaults to
    true in production and false in development."""
    checkpoint_file: Path | None = None
    """Path of the file to which signed checkpoints of the ledger are appended, on storage that is not the database's.
    Checkpoints are kept in the database and the log only if unset."""
    checkpoint_key_days: Annotated[float, Field(gt=0, le=3650)] = 365
    """Lifetime of the key that signs checkpoints, in days. The next key is endorsed by the one before it."""
    webhook_allowed_networks: str = ""
    """Networks that webhooks may reach although they are not public, over http too: `127.0.0.0/8,::1/128`. Webhooks
    reach public addresses over https only if unset."""
    webhook_timeout_seconds: Annotated[float, Field(gt=0, le=30)] = 15
    """Timeout of a request to a webhook in seconds, from name resolution to the head of the response."""
    webhook_disable_after_days: Annotated[float, Field(gt=0)] = 5
    """Days of failed attempts without a successful one after which a webhook is disabled."""
    webhook_delivery_retention_days: Annotated[float, Field(ge=7)] = 30
    """Retention of webhook deliveries and their attempts. Longer than retries, which end after three days."""

    def insecure(self) -> Iterator[str]:
        """Yield what production refuses."""
        yield from super().insecure()
        if any(_overlap(network, own) for network in self.webhook_networks for own in OWN_NETWORKS):
            yield "AZORA_WEBHOOK_ALLOWED_NETWORKS must not contain loopback or link-local networks in production"

    @field_validator("webhook_allowed_networks")
    @classmethod
    def _networks_are_valid(cls, value: str) -> str:
        try:
            _networks(value)
        except ValueError:
            raise ValueError("must be networks in CIDR notation, comma-separated: 10.1.0.0/16,fd00::/8") from None
        return value

    @property
    def webhook_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of AZORA_WEBHOOK_ALLOWED_NETWORKS."""
        return _networks(self.webhook_allowed_networks)

    @property
    def new_wallets_transfer(self) -> int | None:
        """Limit of a new wallet in whole units of a currency; None for no lower limit than others."""
        if self.new_wallet_max_amount is None and self.production:
            return NEW_WALLET_MAX_AMOUNT
        return self.new_wallet_max_amount

    @property
    def requires_verified_email(self) -> bool:
        """Whether transfers require a verified e-mail address."""
        required = self.transfers_require_verified_email
        return self.production if required is None else required


def _overlap(one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(network.strip()) for network in text.split(",") if network.strip())
