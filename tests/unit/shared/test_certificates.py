"""Certificates that are renewed while a server uses them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from services.deployment import pki
from services.shared.certificates import CertificateFiles
from tests.support.certificates import issue

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_renewed_certificate_that_could_not_be_read_once_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pki.ensure_pki(tmp_path / "pki")
    identity = issue(tmp_path / "pki", tmp_path, "payment")
    files = CertificateFiles(identity.certificate, identity.key, identity.authority)
    assert not files.have_changed()
    issue(tmp_path / "pki", tmp_path, "payment")

    def out_of_files(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(CertificateFiles, "load_into", out_of_files)
        assert not files.have_changed()
        assert not files.have_changed()
    assert len(caplog.records) == 1
    assert files.have_changed()
    assert not files.have_changed()
