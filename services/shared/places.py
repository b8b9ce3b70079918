"""Bounds how many streams a process serves at once, and how many of them for one user."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.shared.errors import Overloaded, TooManyStreams

if TYPE_CHECKING:
    from collections.abc import Iterator

RETRY_AFTER_SECONDS = 5.0


class Places:
    """A bounded number of places for streams of one kind."""

    def __init__(self, *, max_total: int, max_per_user: int) -> None:
        self._max_total = max_total
        self._max_per_user = max_per_user
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """Number of places in use."""
        return self._taken.total()

    @contextmanager
    def take(self, user_id: str) -> Iterator[None]:
        """Occupy a place until the end of the block. Raises TooManyStreams, Overloaded."""
        if self._taken[user_id] >= self._max_per_user:
            raise TooManyStreams(limit=self._max_per_user)
        if self.taken >= self._max_total:
            raise Overloaded(retry_after_seconds=RETRY_AFTER_SECONDS)
        self._taken[user_id] += 1
        try:
            yield
        finally:
            self._taken[user_id] -= 1
            if not self._taken[user_id]:
                del self._taken[user_id]
