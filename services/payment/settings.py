"""Settings of Payment."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import Field, field_validator

from services.shared.settings import ServiceSettings


class PaymentSettings(ServiceSettings):
    """Settings of Payment, as environment variables with the prefix AZORA_."""

    refund_window_days: Annotated[int, Field(ge=0, le=3650)] = 14
    """Refund window of a payment in days, for its payer."""
    max_watchers: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """Maximum number of concurrent WatchTransactions streams per process."""
    max_watchers_per_user: Annotated[int, Field(ge=1, le=1000)] = 10
    """Maximum number of concurrent WatchTransactions streams per user and process."""
    refund_settle_after_seconds: Annotated[float, Field(gt=0, le=3600)] = 15
    """Delay before the recovery job settles a refund whose decision was interrupted."""
    webhook_allowed_networks: str = ""
    """Networks that webhooks may reach although they are not public, over http too: `127.0.0.0/8,::1/128`. Webhooks
    reach public addresses over https only if unset."""
    webhook_timeout_seconds: Annotated[float, Field(gt=0, le=30)] = 15
    """Timeout of a request to a webhook in seconds, from name resolution to the head of the response."""
    webhook_disable_after_days: Annotated[float, Field(gt=0)] = 5
    """Days of failed attempts without a successful one after which a webhook is disabled."""
    webhook_delivery_retention_days: Annotated[float, Field(ge=7)] = 30
    """Retention of webhook deliveries and their attempts. Longer than retries, which end after three days."""

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


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(network.strip()) for network in text.split(",") if network.strip())
