"""Settings of Payment."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from services.shared.settings import ServiceSettings


class PaymentSettings(ServiceSettings):
    """Settings of Payment, as environment variables with the prefix AZORA_."""

    refund_window_days: Annotated[int, Field(ge=0, le=3650)] = 14
    """Refund window of a payment in days, for its payer."""
    refund_settle_after_seconds: Annotated[float, Field(gt=0, le=3600)] = 15
    """Delay before the recovery job settles a refund whose decision was interrupted."""
    checkpoint_file: Path | None = None
    """Path of the file to which signed checkpoints of the ledger are appended, on storage that is not the database's.
    Checkpoints are kept in the database and the log only if unset."""
    checkpoint_key_days: Annotated[float, Field(gt=0, le=3650)] = 365
    """Lifetime of the key that signs checkpoints, in days. The next key is endorsed by the one before it."""
