"""What enrolling an authenticator gives."""

from __future__ import annotations

import base64
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Enrollment:
    """A secret that an authenticator is to know, not yet confirmed."""

    secret: bytes
    uri: str
    """The `otpauth` URI of the secret."""

    @property
    def base32(self) -> str:
        """The secret as people type it (RFC 4648, section 6); its 20 bytes need no padding."""
        return base64.b32encode(self.secret).decode()
