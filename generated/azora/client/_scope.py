"""What calls have in common: a deadline, and metadata such as the access token and the trace."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc
    from grpc import aio

Metadata: TypeAlias = tuple[tuple[str, str], ...]
"""Headers of a call."""

PASSED_ON = ("authorization", "traceparent", "tracestate", "x-request-id")
OVER_SECONDS = -1.0
"""Timeout of a call that has no time left. gRPC's clocks differ by a little, so that one of 0 may still be answered."""


class Scope(NamedTuple):
    """What the calls of a block are given."""

    deadline: float = float("inf")
    """By the monotonic clock."""
    metadata: Metadata = ()

    def timeout(self, seconds: float | None) -> float | None:
        """Return a call's timeout: its own, or what is left of the block's time if that is less."""
        if self.deadline == float("inf"):
            return seconds
        left = self.deadline - time.monotonic()
        if left <= 0:
            return OVER_SECONDS
        return left if seconds is None else min(left, seconds)


CURRENT: ContextVar[Scope] = ContextVar("azora.client.scope", default=Scope())  # noqa: B039 - it cannot be changed


@contextmanager
def scope(*, timeout_seconds: float | None = None, metadata: Metadata = ()) -> Iterator[None]:
    """Give all calls of the block, together, so much time, and each of them this metadata.

    Scopes nest: the earlier deadline holds, and metadata of the inner scope, or of a call, replaces that of the outer.
    """
    outer = CURRENT.get()
    deadline = float("inf") if timeout_seconds is None else time.monotonic() + timeout_seconds
    token = CURRENT.set(Scope(min(outer.deadline, deadline), merged(outer.metadata, metadata)))
    try:
        yield
    finally:
        CURRENT.reset(token)


@contextmanager
def serving(context: aio.ServicerContext[Any, Any] | grpc.ServicerContext) -> Iterator[None]:
    """Make all calls of the block part of a call that is being served.

    They end by its deadline, are in its trace, have its request ID, and are signed in by its access token.
    """
    headers = tuple((name, str(value)) for name, value in context.invocation_metadata() or () if name in PASSED_ON)
    with scope(timeout_seconds=context.time_remaining(), metadata=headers):
        yield


def merged(outer: Any, inner: Any) -> tuple[Any, ...]:
    """Return metadata in which the inner's headers replace those of the outer."""
    replaced = {name for name, _ in inner}
    return (*(header for header in outer if header[0] not in replaced), *inner)
