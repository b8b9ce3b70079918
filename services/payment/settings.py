"""Payment's settings, as environment variables with the prefix AZORA_."""

from typing import Annotated

from pydantic import Field

from services.shared.settings import ServiceSettings


class PaymentSettings(ServiceSettings):
    """What Payment is told by its environment."""

    refund_window_days: Annotated[int, Field(ge=0, le=3650)] = 14
    """Refund window: how long after a payment its payer can refund it."""
    settle_after_seconds: Annotated[float, Field(gt=0, le=3600)] = 15
    """Delay before the recovery job settles a refund whose decision was interrupted."""
