"""Bytes that never change, on a Redis-compatible server, for all processes of a service."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from datetime import timedelta
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 0.25
"""Maximum time to wait for the server: a call is answered without it."""
RETRY_SECONDS = 5.0
"""Interval at which a server that does not answer is tried again, by one call."""
MAX_CONNECTIONS = 16
LIFETIME = timedelta(days=1)
"""Of what is kept, since it was last read. The server may drop it at any time."""
DIGEST_BYTES = 32


class SharedCache:
    """Keeps bytes that never change, signed: what was not written by this service for this key is not there.

    Nothing depends on it. A server that does not answer is left alone for `RETRY_SECONDS`.
    """

    def __init__(self, url: str, *, namespace: str, key: bytes) -> None:
        """Connect to `url` when it is first used; sign with `key`. Raises ValueError for no Redis URL."""
        pool = BlockingConnectionPool.from_url(
            url,
            timeout=ANSWER_SECONDS,
            max_connections=MAX_CONNECTIONS,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 1),  # A pooled connection may be one to a server that has been restarted since.
        )
        self._client: Any = Redis.from_pool(pool)
        self._namespace = namespace
        self._key = key
        self._again_at = float("-inf")
        self._answers = True

    async def find(self, key: str) -> bytes | None:
        """Return what is kept under `key`; None, too, where the server does not answer."""
        stored: bytes | None = await self._ask("GETEX", self._name(key), "EX", _seconds())
        if not stored:
            return None
        digest, data = stored[:DIGEST_BYTES], stored[DIGEST_BYTES:]
        return data if hmac.compare_digest(digest, self._sign(key, data)) else None

    async def keep(self, key: str, data: bytes) -> None:
        """Keep bytes under `key`, if the server answers."""
        await self._ask("SET", self._name(key), self._sign(key, data) + data, "EX", _seconds())

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _ask(self, *command: str | bytes | int) -> bytes | None:
        now = time.monotonic()
        if now < self._again_at:
            return None
        if not self._answers:
            self._again_at = now + RETRY_SECONDS  # One call asks; the others go on meanwhile.
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer: bytes | None = await self._client.execute_command(*command)
        except Exception as error:  # noqa: BLE001 - whatever the client raises, calls go on
            if self._answers:
                logger.warning("shared cache does not answer", extra={"error": type(error).__name__})
            self._answers, self._again_at = False, time.monotonic() + RETRY_SECONDS
            return None
        if not self._answers:
            logger.info("shared cache answers again")
            self._answers, self._again_at = True, float("-inf")
        return answer

    def _name(self, key: str) -> str:
        return f"azora:{self._namespace}:{key}"

    def _sign(self, key: str, data: bytes) -> bytes:
        return hmac.digest(self._key, self._name(key).encode() + b"\0" + data, hashlib.sha256)


def _seconds() -> int:
    return int(LIFETIME.total_seconds())
