"""Responses that are already encoded: from a cache, or from the record of an idempotency key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar, cast

M = TypeVar("M")


@dataclass(slots=True)
class Encoded(Generic[M]):
    """The encoded bytes of a message of type M; the server sends them as they are."""

    data: bytes

    def as_response(self) -> M:
        """Return this object, typed as its message, for the `return` of a handler.

        The generated stubs declare that a handler returns its message. This is the one place that says otherwise, and
        the chain's serializer is the one that reads it.
        """
        return cast("M", self)
