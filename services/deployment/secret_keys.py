"""Secret keys and passwords of services: generated once, kept as long as the data they protect."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING

from services.deployment.files import write_private
from services.shared.settings import SECRET_BYTES

if TYPE_CHECKING:
    from pathlib import Path


def new_secret_key() -> str:
    """Return a random AZORA_SECRET_KEY: 32 bytes in base64."""
    return base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def new_password() -> str:
    """Return a random password of 256 bits in hexadecimal, which needs no escaping in URLs."""
    return secrets.token_hex(SECRET_BYTES)


def secret_key(folder: Path, service: str) -> str:
    """Return the service's secret key from `folder`, generated at the first call."""
    path = folder / f"{service}.key"
    if not path.exists():
        write_private(path, f"{new_secret_key()}\n".encode())
    return path.read_text().strip()
