"""Sealing secrets."""

from __future__ import annotations

import os

import pytest

from services.shared.seal import Seal, SecretKeyChanged


def test_what_was_sealed_opens_again() -> None:
    seal = Seal(os.urandom(32))
    sealed = seal.close(b"secret", row_id="1")
    assert b"secret" not in sealed
    assert sealed != seal.close(b"secret", row_id="1")
    assert seal.open(sealed, row_id="1") == b"secret"


def test_a_secret_opens_in_its_own_row_under_its_own_key_unchanged() -> None:
    seal = Seal(os.urandom(32))
    sealed = seal.close(b"secret", row_id="1")
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for other, moved, row_id in ((seal, sealed, "2"), (Seal(os.urandom(32)), sealed, "1"), (seal, changed, "1")):
        with pytest.raises(SecretKeyChanged, match="AZORA_SECRET_KEY"):
            other.open(moved, row_id=row_id)
