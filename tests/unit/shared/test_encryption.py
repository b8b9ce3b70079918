"""Encryption at rest, and what a change of keys leaves readable."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.shared.encryption import Encryption, SecretKeyChanged

OLD, NEW = os.urandom(32), os.urandom(32)


def test_what_was_encrypted_decrypts_again() -> None:
    encryption = Encryption([NEW])
    encrypted = encryption.encrypt(b"secret", row_id="1")
    assert b"secret" not in encrypted
    assert encrypted != encryption.encrypt(b"secret", row_id="1")
    assert encryption.decrypt(encrypted, row_id="1") == b"secret"


def test_a_secret_decrypts_in_its_own_row_under_its_own_key_unchanged() -> None:
    encryption = Encryption([NEW])
    encrypted = encryption.encrypt(b"secret", row_id="1")
    changed = [encrypted[:at] + bytes([encrypted[at] ^ 1]) + encrypted[at + 1 :] for at in range(len(encrypted))]
    cases = [(encryption, encrypted, "2"), (Encryption([OLD]), encrypted, "1"), (encryption, b"", "1")]
    for other, moved, row_id in cases + [(encryption, text, "1") for text in changed]:
        with pytest.raises(SecretKeyChanged, match="AZORA_SECRET_KEY"):
            other.decrypt(moved, row_id=row_id)


def test_a_new_key_encrypts_and_the_previous_one_still_decrypts() -> None:
    before, after = Encryption([OLD]), Encryption([NEW, OLD])
    assert after.decrypt(before.encrypt(b"secret", row_id="1"), row_id="1") == b"secret"
    assert Encryption([NEW]).decrypt(after.encrypt(b"secret", row_id="1"), row_id="1") == b"secret"


@pytest.mark.parametrize(
    "nonce", [os.urandom(12), Encryption([OLD]).encrypt(b"", row_id="1")[:12]], ids=["any", "like the second format"]
)
def test_the_first_format_decrypts_whatever_its_nonce_looks_like(nonce: bytes) -> None:
    first = nonce + AESGCM(OLD).encrypt(nonce, b"secret", b"1")
    assert Encryption([NEW, OLD]).decrypt(first, row_id="1") == b"secret"
    with pytest.raises(SecretKeyChanged):
        Encryption([NEW]).decrypt(first, row_id="1")
