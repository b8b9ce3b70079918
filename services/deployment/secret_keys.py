"""Each service's secret key: made once, kept for as long as the data it protects."""

from __future__ import annotations

import base64
import os
import secrets
from typing import TYPE_CHECKING

from services.deployment.files import write_private
from services.shared.settings import SECRET_BYTES

if TYPE_CHECKING:
    from pathlib import Path


def secret_key(folder: Path, service: str) -> str:
    """Return the service's secret key (32 random bytes in base64) from `folder`, making it the first time."""
    path = folder / f"{service}.key"
    if not path.exists():
        write_private(path, base64.b64encode(secrets.token_bytes(SECRET_BYTES)) + os.linesep.encode())
    return path.read_text().strip()
