"""The mesh's authority and certificates."""

from __future__ import annotations

import datetime as dt
import ssl
import stat
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from services.deployment import pki
from tests.support.services import SERVED

if TYPE_CHECKING:
    from pathlib import Path

DAY = dt.timedelta(hours=24)


def _certificate(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())


def _handshake(folder: Path, client: str, server: str) -> None:
    """Shake hands in memory, each side asking the other for a certificate of the authority's."""
    sides = []
    for name, purpose in ((server, ssl.Purpose.CLIENT_AUTH), (client, ssl.Purpose.SERVER_AUTH)):
        context = ssl.create_default_context(purpose, cafile=folder / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
        sides.append(context)
    upward, downward = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = sides[0].wrap_bio(upward, downward, server_side=True)
    here = sides[1].wrap_bio(downward, upward, server_hostname=server)
    pending = [here, there]
    for _ in range(10):
        for side in list(pending):
            try:
                side.do_handshake()
                pending.remove(side)
            except ssl.SSLWantReadError:
                continue
    assert not pending


def test_every_part_gets_an_identity_that_others_accept(tmp_path: Path) -> None:
    new = pki.ensure_pki(tmp_path / "pki")
    assert new == ["ca", *SERVED, "envoy"]
    _handshake(tmp_path / "pki", client="education", server="envoy")
    names = _certificate(tmp_path / "pki", "education").extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [
        "spiffe://azora.local/ns/default/sa/education"
    ]
    assert names.value.get_values_for_type(x509.DNSName) == ["localhost", "education"]


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    pki.ensure_pki(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_what_is_good_stays(tmp_path: Path) -> None:
    pki.ensure_pki(tmp_path)
    before = _certificate(tmp_path, "auth")
    assert pki.ensure_pki(tmp_path) == []
    assert _certificate(tmp_path, "auth") == before


def test_a_certificate_near_its_end_is_renewed_by_the_same_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(pki, "_now", lambda: dt.datetime.now(dt.UTC) - dt.timedelta(hours=16, minutes=1))
        pki.ensure_pki(tmp_path, ["auth"], lifetime=DAY)
    authority = (tmp_path / "ca.crt").read_bytes()
    assert pki.renew_certificates(tmp_path, ["auth"], lifetime=DAY) == ["auth"]
    assert pki.renew_certificates(tmp_path, ["auth"], lifetime=DAY) == []
    assert (tmp_path / "ca.crt").read_bytes() == authority


def test_a_certificate_that_would_last_too_long_is_replaced(tmp_path: Path) -> None:
    pki.ensure_pki(tmp_path, ["auth"])
    assert pki.renew_certificates(tmp_path, ["auth"], lifetime=DAY) == ["auth"]
    assert pki._left(_certificate(tmp_path, "auth")) <= DAY


def test_without_its_authority_no_certificate_is_renewed(tmp_path: Path) -> None:
    """A running system keeps the one it has: another authority would cut it in two."""
    pki.ensure_pki(tmp_path, ["auth"])
    (tmp_path / "ca.key").unlink()
    with pytest.raises(pki.AuthorityMissingError):
        pki.renew_certificates(tmp_path, ["auth"])


def test_broken_lost_and_foreign_ones_are_made_anew(tmp_path: Path) -> None:
    other = tmp_path / "other"
    pki.ensure_pki(other)
    pki.ensure_pki(tmp_path)
    (tmp_path / "auth.crt").write_text("not a certificate")
    (tmp_path / "payment.key").unlink()
    (tmp_path / "gateway.key").write_bytes((tmp_path / "envoy.key").read_bytes())
    for suffix in ("crt", "key"):
        (tmp_path / f"education.{suffix}").write_bytes((other / f"education.{suffix}").read_bytes())
    assert pki.ensure_pki(tmp_path) == ["auth", "education", "payment", "gateway"]


def test_a_new_authority_renews_everything(tmp_path: Path) -> None:
    pki.ensure_pki(tmp_path, ["auth"])
    (tmp_path / "ca.key").unlink()
    assert pki.ensure_pki(tmp_path, ["auth"]) == ["ca", "auth"]
