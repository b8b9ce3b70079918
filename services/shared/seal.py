"""Encryption at rest, of the secrets that the database keeps."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12


class SecretKeyChanged(Exception):
    """Secrets in the database were encrypted under another AZORA_SECRET_KEY: start with that one again."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class Seal:
    """Encrypts secrets (AES-256-GCM), each bound to the row that it belongs to.

    A sealed secret is a random nonce and the ciphertext; moved to another row it does not open.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def close(self, secret: bytes, *, row_id: str) -> bytes:
        """Return `secret`, sealed for the row of this id."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, row_id.encode())

    def open(self, sealed: bytes, *, row_id: str) -> bytes:
        """Return the secret that was sealed for the row of this id. Raises SecretKeyChanged."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], row_id.encode())
        except InvalidTag:
            raise SecretKeyChanged from None
