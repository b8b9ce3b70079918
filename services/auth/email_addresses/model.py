"""E-mail addresses of accounts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from services.auth.mail.model import SealedAddress  # noqa: TC001 - payloads are decoded by their types


class Effect(StrEnum):
    """Effect of a link, named as in azora.auth.v1.EmailLinkEffect."""

    REGISTERED = "EMAIL_LINK_EFFECT_REGISTERED"
    VERIFIED = "EMAIL_LINK_EFFECT_VERIFIED"
    CHANGED = "EMAIL_LINK_EFFECT_CHANGED"
    RESTORED = "EMAIL_LINK_EFFECT_RESTORED"


@dataclass(frozen=True, slots=True)
class SendEmailChange:
    """Job: mail the link that confirms a new address, or a notice if the address has an account."""

    user_id: str
    session_id: str
    address: SealedAddress
