"""Files of certificates that are replaced while a process reads them."""

from __future__ import annotations

import errno
import os
import ssl
from typing import TYPE_CHECKING

import pytest
from azora.client.certificates import CertificateFiles, read_pem

from services.deployment import pki
from tests.support.certificates import issue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@pytest.fixture
def renew(tmp_path: Path) -> Callable[[], list[Path]]:
    """Return what issues a certificate anew, at the same paths."""
    pki.ensure_pki(tmp_path / "pki")

    def issued() -> list[Path]:
        identity = issue(tmp_path / "pki", tmp_path, "payment")
        return [identity.authority, identity.key, identity.certificate]

    return issued


def test_a_renewed_certificate_that_could_not_be_read_once_is_read_again(
    renew: Callable[[], list[Path]], caplog: pytest.LogCaptureFixture
) -> None:
    exhausted = False

    def load(files: Sequence[Path]) -> list[bytes]:
        if exhausted:
            raise OSError(errno.EMFILE, "Too many open files")
        return read_pem(files)

    files = CertificateFiles(renew(), load)
    first = files.load()
    assert files.renewed() is None
    renew()
    exhausted = True
    assert (files.renewed(), files.renewed()) == (None, None)
    assert len(caplog.records) == 1
    exhausted = False
    assert files.renewed() not in (None, first)
    assert files.renewed() is None


def test_files_that_are_replaced_while_they_are_read_are_read_again(renew: Callable[[], list[Path]]) -> None:
    """Or a process that starts meanwhile ends, as it reads the new certificate and the former key."""
    authority, key, certificate = renew()
    reads = 0

    def load(files: Sequence[Path]) -> list[bytes]:
        nonlocal reads
        reads += 1
        if reads == 1:
            former = key.read_bytes()
            renew()
            replacement = key.rename(key.with_suffix(".new"))
            key.write_bytes(former)
            try:
                return read_pem(files)
            finally:
                replacement.rename(key)
        return read_pem(files)

    assert CertificateFiles([authority, key, certificate], load).load() == read_pem([authority, key, certificate])
    assert reads == 2


def test_files_that_are_renewed_in_place_are_read_again_whatever_their_times_say(
    renew: Callable[[], list[Path]], tmp_path: Path
) -> None:
    """As `cp --preserve` and `rsync --inplace --times` copy them."""
    copies = [tmp_path / f"copy-{name}" for name in ("authority", "key", "certificate")]

    def copy() -> None:
        for original, copied in zip(renew(), copies, strict=True):
            copied.write_bytes(original.read_bytes())
            os.utime(copied, (0, 0))

    copy()
    files = CertificateFiles(copies, read_pem)
    first = files.load()
    copy()
    assert files.renewed() not in (None, first)
    assert files.renewed() is None


def test_files_that_do_not_belong_together_are_refused(renew: Callable[[], list[Path]]) -> None:
    authority, key, certificate = renew()
    former = key.read_bytes()
    renew()
    key.write_bytes(former)
    with pytest.raises(ssl.SSLError):
        CertificateFiles([authority, key, certificate], read_pem).load()
