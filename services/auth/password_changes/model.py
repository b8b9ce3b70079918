"""Password resets."""

from __future__ import annotations

from dataclasses import dataclass

from services.auth.mail.model import SealedAddress  # noqa: TC001 - payloads are decoded by their types


@dataclass(frozen=True, slots=True)
class SendPasswordReset:
    """Job: mail a link that sets a new password, if the address has an account."""

    address: SealedAddress
