"""Page tokens (AIP-158): opaque, signed, bound to the caller and to what was asked for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.shared.errors import PageTokenInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 100
DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Page:
    """Which page is asked for: at most `size` items that come after `cursor` (None: from the start)."""

    size: int
    cursor: Sequence[Any] | None


class PageTokens:
    """Makes and reads page tokens, signed with a key that all replicas of the service share."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def read(self, *, page_size: int, page_token: str, bound_to: Mapping[str, Any]) -> Page:
        """Return the page asked for; 0 means the default size, above the maximum is the maximum.

        `bound_to` names everything that the token must belong to: caller, method, filter, order. Raises
        PageTokenInvalid for a token that was changed or belongs to something else.
        """
        size = min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        if not page_token:
            return Page(size, None)
        try:
            raw = base64.urlsafe_b64decode(page_token.encode())
            digest, cursor = raw[:DIGEST_BYTES], raw[DIGEST_BYTES:]
            if not hmac.compare_digest(digest, self._sign(cursor, bound_to)):
                raise PageTokenInvalid.field("pageToken", "must be nextPageToken of the previous page, unchanged")
            return Page(size, json.loads(cursor))
        except ValueError:
            raise PageTokenInvalid.field("pageToken", "must be nextPageToken of the previous page, unchanged") from None

    def write(self, cursor: Sequence[Any], *, bound_to: Mapping[str, Any]) -> str:
        """Return the token of the page after `cursor`, whose items must be JSON values."""
        raw = json.dumps(cursor, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._sign(raw, bound_to) + raw).decode()

    def _sign(self, cursor: bytes, bound_to: Mapping[str, Any]) -> bytes:
        bound = json.dumps(bound_to, sort_keys=True, separators=(",", ":")).encode()
        return hmac.digest(self._key, bound + b"\0" + cursor, hashlib.sha256)[:DIGEST_BYTES]
