"""Certificates that are renewed while a server uses them."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)


class CertificateFiles:
    """A certificate, its private key and the authority of its peers (PEM), as files that may change at any time."""

    def __init__(self, certificate: Path, key: Path, authority: Path) -> None:
        self.certificate, self.key, self.authority = certificate, key, authority
        self._stamp = self._unusable = self._stamped()

    def have_changed(self) -> bool:
        """Whether the files are others than when this last was true, and belong together.

        False while only some of them are replaced, and while they cannot be read: then they are looked at again.
        """
        stamp = self._stamped()
        if stamp == self._stamp:
            return False
        try:
            self.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        except OSError as error:  # ssl.SSLError is one.
            if stamp != self._unusable:
                logger.warning("renewed certificate cannot be used", extra={"error": str(error)})
                self._unusable = stamp
            return False
        self._stamp = stamp
        return True

    def load_into(self, context: ssl.SSLContext) -> None:
        """Load all of them into a context. Raises OSError for files that are missing or do not belong together."""
        context.load_cert_chain(self.certificate, self.key, password="")  # An encrypted key is an error, no question.
        context.load_verify_locations(self.authority)

    def _stamped(self) -> list[tuple[int, int]]:
        try:
            found = [path.stat() for path in (self.certificate, self.key, self.authority)]
        except FileNotFoundError:
            return []
        return [(file.st_mtime_ns, file.st_ino) for file in found]
