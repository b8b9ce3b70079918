"""The renewal of certificates while the system runs."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING

import pytest

from services.cli import __main__ as cli
from services.deployment.certificates import (
    DATA,
    are_published,
    identity_folder,
    keep_certificates,
    publish_identities,
)
from services.deployment.pki import ensure_pki, renew_certificates
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


def test_an_identity_is_replaced_all_at_once(tmp_path: Path) -> None:
    ensure_pki(tmp_path)
    assert not are_published(tmp_path)
    publish_identities(tmp_path)
    assert are_published(tmp_path)
    folder = identity_folder(tmp_path, "auth")
    first, seen = (folder / DATA).readlink(), (folder / "tls.crt").read_bytes()
    publish_identities(tmp_path)
    assert (folder / DATA).readlink() == first, "what is up to date stays"
    for _ in range(2):
        (tmp_path / "auth.crt").unlink()
        renew_certificates(tmp_path)
        publish_identities(tmp_path)
    assert (folder / "tls.crt").read_bytes() == (tmp_path / "auth.crt").read_bytes() != seen
    assert {path.resolve().parent for path in folder.glob("[!.]*")} == {(folder / DATA).resolve()}
    kept = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    assert len(kept) == 2, "and those before"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir() if path.is_file()} == {0o640}


def test_the_command_checks_what_it_has_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in ((["--hours", "24"], 0), (["--check"], 1)):
        with pytest.raises(SystemExit) as ended:
            cli.main(["pki", str(tmp_path), *arguments])
        assert ended.value.code == code
    assert "not every identity has a valid certificate" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main(["pki", str(tmp_path), "--hours", "0"])
