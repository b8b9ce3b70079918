"""Page tokens (AIP-158): opaque, signed, bound to what was asked for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from services.shared.errors import PageTokenInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 100
DIGEST_BYTES = 16

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list."""

    items: Sequence[T]
    next_page_token: str
    """Empty on the last page."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page is asked for."""

    size: int
    """Maximum number of items."""
    cursor: Sequence[Any] | None
    """The position after which the page begins; None for the first page."""
    token: Callable[[Sequence[Any]], str]
    """Returns the token of the page after a position."""

    @property
    def limit(self) -> int:
        """How many rows to read: one more than the page holds, which tells whether there is a next page."""
        return self.size + 1

    def page(self, found: Sequence[T], cursor: Callable[[T], Sequence[Any]]) -> Page[T]:
        """Return the page of the up to `limit` items that were found; `cursor` gives an item's position."""
        items = found[: self.size]
        return Page(items, self.token(cursor(items[-1])) if len(found) > self.size else "")


class PageTokens:
    """Makes and reads page tokens, signed with a key that all replicas of the service share."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def request(
        self, *, page_size: int, page_token: str, bound_to: Mapping[str, Any], max_page_size: int = MAX_PAGE_SIZE
    ) -> PageRequest:
        """Return the page asked for; a size of 0 means the default, one above the maximum is coerced to it.

        `bound_to` names everything that the token must belong to: method, filter, order, and the caller where the list
        depends on the caller. Raises PageTokenInvalid for a token that was changed or belongs to something else.
        """
        return PageRequest(
            size=min(page_size or DEFAULT_PAGE_SIZE, max_page_size),
            cursor=self._read(page_token, bound_to) if page_token else None,
            token=lambda cursor: self._write(cursor, bound_to),
        )

    def _read(self, page_token: str, bound_to: Mapping[str, Any]) -> Sequence[Any]:
        try:
            raw = base64.b64decode(page_token.encode(), altchars=b"-_", validate=True)
        except ValueError:
            raw = b""
        digest, cursor = raw[:DIGEST_BYTES], raw[DIGEST_BYTES:]
        # The second comparison refuses what decodes alike and was not written by us: bits after the last byte.
        if not hmac.compare_digest(digest, self._sign(cursor, bound_to)) or _text(raw) != page_token:
            raise PageTokenInvalid.field("pageToken", "must be nextPageToken of the previous page, unchanged")
        read: Sequence[Any] = json.loads(cursor)
        return read

    def _write(self, cursor: Sequence[Any], bound_to: Mapping[str, Any]) -> str:
        raw = json.dumps(cursor, separators=(",", ":")).encode()
        return _text(self._sign(raw, bound_to) + raw)

    def _sign(self, cursor: bytes, bound_to: Mapping[str, Any]) -> bytes:
        bound = json.dumps(bound_to, sort_keys=True, separators=(",", ":")).encode()
        return hmac.digest(self._key, bound + b"\0" + cursor, hashlib.sha256)[:DIGEST_BYTES]


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()
