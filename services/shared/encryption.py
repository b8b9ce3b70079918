"""Encryption at rest, of the secrets that the database keeps."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = b"\x01"
KEY_ID_BYTES = 4
NONCE_BYTES = 12
HEADER_BYTES = len(VERSION) + KEY_ID_BYTES


class SecretKeyChanged(Exception):
    """Encrypted under a secret key that is not configured: set AZORA_SECRET_KEY or AZORA_PREVIOUS_SECRET_KEYS to it."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class Encryption:
    """Authenticated encryption (AES-256-GCM) of secrets, each bound to the row that it belongs to.

    A ciphertext is a version byte, the id of its key, a random nonce and the encrypted secret. Copied to another row it
    does not decrypt. Those without version and key id, as they were written first, decrypt too.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Encrypt with the first key, decrypt with any."""
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._current_id = _key_id(keys[0])

    def encrypt(self, secret: bytes, *, row_id: str) -> bytes:
        """Return the ciphertext of `secret` for the row of this id."""
        header, nonce = VERSION + self._current_id, os.urandom(NONCE_BYTES)
        return header + nonce + self._ciphers[self._current_id].encrypt(nonce, secret, header + row_id.encode())

    def is_current(self, ciphertext: bytes) -> bool:
        """Whether the current key encrypted a secret, so that no former one is needed for it."""
        return ciphertext.startswith(VERSION + self._current_id)

    def decrypt(self, ciphertext: bytes, *, row_id: str) -> bytes:
        """Return the secret that was encrypted for the row of this id. Raises SecretKeyChanged."""
        header = ciphertext[:HEADER_BYTES]
        cipher = self._ciphers.get(header[len(VERSION) :])
        attempts = [(cipher, ciphertext[HEADER_BYTES:], header)] if cipher and header.startswith(VERSION) else []
        # A nonce of the first format may look like a header, so it is tried as well.
        attempts += [(cipher, ciphertext, b"") for cipher in self._ciphers.values()]
        for candidate, sealed, prefix in attempts:
            try:
                return candidate.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], prefix + row_id.encode())
            except (InvalidTag, ValueError):
                continue
        raise SecretKeyChanged


def _key_id(key: bytes) -> bytes:
    return hmac.digest(key, b"key-id", hashlib.sha256)[:KEY_ID_BYTES]
