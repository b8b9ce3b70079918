"""Sliding-window counters on a Redis-compatible server, for all replicas of a service."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from interceptors.windows import decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interceptors.windows import Hit

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 0.25
"""Maximum time to wait for the shared counters. A call takes two or three of them and must answer within a second."""
RETRY_SECONDS = 5.0
"""Interval at which shared counters that do not answer are tried again, by one call."""
MAX_CONNECTIONS = 32
HIT_SCRIPT = """\
local limit, cost = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = redis.call('TIME')
local milliseconds = now[1] * 1000 + math.floor(now[2] / 1000)
local minute, into = math.floor(milliseconds / 60000), milliseconds % 60000
local stored = redis.call('HMGET', KEYS[1], 'minute', 'current', 'previous')
local age = minute - (tonumber(stored[1]) or 0)
local current, previous = tonumber(stored[2]) or 0, tonumber(stored[3]) or 0
if age == 1 then current, previous = 0, current elseif age > 1 then current, previous = 0, 0 end
if math.floor(current + previous * (1 - into / 1000 / 60)) < limit - cost + 1 then
  redis.call('HSET', KEYS[1], 'minute', minute, 'current', current + cost, 'previous', previous)
  redis.call('EXPIRE', KEYS[1], 120)
end
return {current, previous, into}
"""
"""`Windows.hit` in one round trip, by the server's clock: replicas agree on the minute whatever their own say."""


class SharedWindows:
    """Counts as `Windows` does.

    A server that does not answer is left alone for `RETRY_SECONDS`: calls must not queue up behind its timeouts.
    """

    def __init__(self, url: str) -> None:
        """Connect to `url` when the first hit is counted. Raises ValueError for no Redis URL."""
        pool = BlockingConnectionPool.from_url(
            url,
            timeout=ANSWER_SECONDS,
            max_connections=MAX_CONNECTIONS,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 1),  # A pooled connection may be one to a server that has been restarted since.
        )
        self._client: Redis = Redis.from_pool(pool)
        self._script: Any = self._client.register_script(HIT_SCRIPT)
        self._answers = True
        self._again_at = float("-inf")

    async def hit(self, key: Sequence[str], limit: int, *, cost: int = 1) -> Hit | None:
        """Count a hit as `Windows.hit` does; None where the server does not answer."""
        if not self._answers:
            now = time.monotonic()
            if now < self._again_at:
                return None
            self._again_at = now + RETRY_SECONDS  # One call asks; the others go on meanwhile.
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                counted = await self._script(keys=[f"azora:rate:{':'.join(key)}"], args=[limit, cost])
        except Exception as error:  # noqa: BLE001 - whatever the client raises, calls go on
            self._lost(error)
            return None
        if not self._answers:
            self._answers = True
            logger.info("shared rate-limit counters answer again")
        current, previous, into_milliseconds = counted
        return decide(current, previous, into_milliseconds / 1000, limit, cost)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def _lost(self, error: Exception) -> None:
        if self._answers:
            self._answers = False
            self._again_at = time.monotonic() + RETRY_SECONDS
            logger.warning("shared rate-limit counters do not answer", extra={"error": type(error).__name__})
