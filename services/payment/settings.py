"""Settings of Payment."""

from typing import Annotated

from pydantic import Field

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
