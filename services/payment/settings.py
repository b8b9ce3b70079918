"""Settings of Payment."""

from typing import Annotated

from pydantic import Field

from services.shared.settings import ServiceSettings

NEW_WALLET_MAX_AMOUNT = 100
"""Limit of a new wallet in production, in whole units of a currency."""


class PaymentSettings(ServiceSettings):
    """Settings of Payment, as environment variables with the prefix AZORA_."""

    refund_window_days: Annotated[int, Field(ge=0, le=3650)] = 14
    """Refund window of a payment in days, for its payer."""
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
