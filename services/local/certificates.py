"""Renews the mesh's certificates while the system runs. Envoy, services and clients pick them up from their files."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.compiler.contract import ENVOY
from services.deployment.files import write_private
from services.deployment.pki import RENEWED_SHARE, AuthorityMissingError, renew_certificates

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable
    from pathlib import Path

MAX_CHECK_SECONDS = 60.0
CHECKS = 10
"""Minimum number of checks between the time a certificate is due and its end."""


def envoy_bundle(folder: Path) -> Path:
    """Return the file of Envoy's certificate and key together: of two files it would see one renewed before the other.

    Envoy reads on every change in the folder; services and clients compare the two themselves.
    """
    return folder / f"{ENVOY}.pem"


def bundle(folder: Path) -> None:
    """Write Envoy's certificate and key together, if they have changed."""
    path = envoy_bundle(folder)
    content = b"".join((folder / f"{ENVOY}.{suffix}").read_bytes() for suffix in ("crt", "key"))
    if not path.exists() or path.read_bytes() != content:
        write_private(path, content)


async def keep_certificates(folder: Path, lifetime: dt.timedelta, say: Callable[[str], None]) -> None:
    """Renew the certificates in `folder` before they expire, until cancelled; a failure is reported and retried."""
    pause_seconds = min(MAX_CHECK_SECONDS, lifetime.total_seconds() * RENEWED_SHARE / CHECKS)
    failed = False
    while True:
        await asyncio.sleep(pause_seconds)
        try:
            renewed = renew_certificates(folder, lifetime=lifetime)
            bundle(folder)
        except (OSError, AuthorityMissingError) as error:
            if not failed:
                say(f"cannot renew the mesh certificates ({error!r}); retrying")
            failed = True
        else:
            if renewed:
                say(f"mesh certificates renewed: {', '.join(renewed)}")
            failed = False
