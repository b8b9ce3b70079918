"""Payment's settings, as environment variables with the prefix AZORA_."""

from typing import Annotated

from pydantic import Field

from services.shared.settings import ServiceSettings


class PaymentSettings(ServiceSettings):
    """What Payment is told by its environment."""

    refund_window_days: Annotated[int, Field(ge=0, le=3650)] = 14
    """For how long after a payment its payer may ask for a refund."""
