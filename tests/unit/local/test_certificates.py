"""The renewal of certificates while the system runs."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING

import pytest

from services.deployment.pki import ensure_pki
from services.local.certificates import keep_certificates
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LIFETIME = dt.timedelta(seconds=3)


@pytest.fixture
async def said(tmp_path: Path) -> AsyncIterator[list[str]]:
    """Renew certificates of three seconds; give what is said."""
    lines: list[str] = []
    ensure_pki(tmp_path, lifetime=LIFETIME)
    keeping = asyncio.create_task(keep_certificates(tmp_path, LIFETIME, lines.append))
    yield lines
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


async def test_certificates_are_renewed_before_they_expire(tmp_path: Path, said: list[str]) -> None:
    first = (tmp_path / "auth.crt").read_bytes()

    async def renewed_twice() -> bool:
        return len(said) > 1

    await eventually(renewed_twice)
    assert all(line.startswith("mesh certificates renewed: ") for line in said)
    assert (tmp_path / "auth.crt").read_bytes() != first


async def test_a_failed_renewal_is_reported_once_and_retried(tmp_path: Path, said: list[str]) -> None:
    key = (tmp_path / "ca.key").read_bytes()
    (tmp_path / "ca.key").unlink()

    async def told(text: str) -> bool:
        return any(text in line for line in said)

    await eventually(lambda: told("cannot renew the mesh certificates (AuthorityMissingError())"))
    (tmp_path / "ca.key").write_bytes(key)
    await eventually(lambda: told("mesh certificates renewed"))
    assert len([line for line in said if "cannot" in line]) == 1
