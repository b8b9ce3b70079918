"""Certificates (PEM files) that are renewed while a process uses them, by clients and by servers."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from pathlib import Path

logger = logging.getLogger("azora.client")

Loaded = TypeVar("Loaded")
Stamps: TypeAlias = list[tuple[int, int, int]]


class CertificateFiles(Generic[Loaded]):
    """What is loaded from files that are replaced now and then, all at once or one after the other."""

    def __init__(self, files: Sequence[Path], load: Callable[[Sequence[Path]], Loaded]) -> None:
        """Load with `load`, which raises OSError for files that are missing, broken, or do not belong together."""
        self._files = files
        self._load = load
        self._loaded: Stamps | None = None
        self._unusable: Stamps | None = None

    def load(self) -> Loaded:
        """Load the files, again if they are replaced meanwhile. Raises OSError."""
        while True:
            stamps = self._stamps()
            try:
                loaded = self._load(self._files)
            except OSError:
                if stamps == self._stamps():
                    raise
            else:
                if stamps == self._stamps():
                    self._loaded = stamps
                    return loaded

    def renewed(self) -> Loaded | None:
        """Load the files if they are others than those loaded last.

        Returns None while they are the same, and while they cannot be used: that is logged once, and they are tried
        again, as one of them may not be written yet.
        """
        stamps = self._stamps()
        if stamps == self._loaded:
            return None
        try:
            return self.load()
        except OSError as error:
            if stamps != self._unusable:
                logger.warning("renewed certificate cannot be used: %s", error)
                self._unusable = stamps
            return None

    def _stamps(self) -> Stamps:
        # Not the time of modification, which those who copy files in place may set to what it was.
        return [(found.st_ctime_ns, found.st_ino, found.st_size) for found in map(_stat, self._files) if found]


def read_pem(files: Sequence[Path]) -> list[bytes]:
    """Return the content of an authority, or of an authority, a private key and its certificate.

    Raises OSError (ssl.SSLError is one) for files that are missing, broken, or do not belong together: grpc would find
    out with the first call.
    """
    load_pem(files, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    return [file.read_bytes() for file in files]


def load_pem(files: Sequence[Path], context: ssl.SSLContext) -> None:
    """Load an authority, or an authority, a private key and its certificate, into a context. Raises OSError."""
    authority, *pair = files
    context.load_verify_locations(authority)
    if pair:
        key, certificate = pair
        context.load_cert_chain(certificate, key, password="")  # An encrypted key is an error, not a question.


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
