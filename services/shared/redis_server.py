"""A Redis-compatible server that nothing depends on."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 0.25
"""Maximum time to wait for the server. A call asks it two or three times and must answer within a second."""
RETRY_SECONDS = 5.0
"""Interval at which a server that does not answer is tried again, by one call."""

Answer = TypeVar("Answer")


class RedisServer:
    """Answers soon or not at all.

    A server that does not answer is left alone for `RETRY_SECONDS`: calls must not queue up behind its timeouts.
    """

    def __init__(self, url: str, *, lost: str, found: str, max_connections: int) -> None:
        """Connect to `url` when it is first asked. `lost` and `found` are logged when it stops and starts to answer.

        Raises ValueError for no Redis URL.
        """
        # Not before there is one: the client takes 10 MB, and imports for as long as much of the rest.
        from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415

        pool = BlockingConnectionPool.from_url(
            url,
            timeout=ANSWER_SECONDS,
            max_connections=max_connections,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 1),  # A pooled connection may be one to a server that has been restarted since.
        )
        self.client: Any = Redis.from_pool(pool)
        self._lost, self._found = lost, found
        self._answers = True
        self._again_at = float("-inf")

    async def ask(self, command: Callable[[], Awaitable[Answer]]) -> Answer | None:
        """Return the answer to a command of the client; None where the server does not answer."""
        if not self._answers:
            now = time.monotonic()
            if now < self._again_at:
                return None
            self._again_at = now + RETRY_SECONDS  # One call asks; the others go on meanwhile.
        try:
            answer = await _in_time(command)
        except Exception as error:  # noqa: BLE001 - whatever the client raises, calls go on
            if self._answers:
                self._answers = False
                self._again_at = time.monotonic() + RETRY_SECONDS
                logger.warning(self._lost, extra={"error": type(error).__name__})
            return None
        if not self._answers:
            self._answers = True
            logger.info(self._found)
        return answer

    async def close(self) -> None:
        """Close all connections."""
        await self.client.aclose()


async def _in_time(command: Callable[[], Awaitable[Answer]]) -> Answer:
    """Return the answer to a command. Raises TimeoutError after `ANSWER_SECONDS`, and what the client raises.

    A command that is out of time is cancelled and left alone: in a crowd that waits for the pool's connections, the
    client takes up to three times its own timeouts to obey.
    """
    asked = asyncio.ensure_future(command())
    try:
        answered, _ = await asyncio.wait((asked,), timeout=ANSWER_SECONDS)
    finally:
        if asked.cancel():
            asked.add_done_callback(_ignore)
    if not answered:
        raise TimeoutError
    return asked.result()


def _ignore(late: asyncio.Future[Any]) -> None:
    """Take what nobody waits for any more, so that it is not logged as lost."""
    if not late.cancelled():
        late.exception()
