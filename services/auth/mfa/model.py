"""Enrolment of an authenticator."""

from __future__ import annotations

import base64
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Enrollment:
    """A new TOTP secret, not yet confirmed."""

    secret: bytes
    uri: str
    """The `otpauth` URI of the secret."""

    @property
    def base32(self) -> str:
        """The secret for manual entry, in base32 (RFC 4648, section 6); its 20 bytes need no padding."""
        return base64.b32encode(self.secret).decode()
