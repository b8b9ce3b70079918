"""Connections checked out of SQLAlchemy's pool, for reuse: a check-out and check-in cost as much as a read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import PoolProxiedConnection

MAX_AGE_SECONDS = 600.0
"""Age at which a connection is replaced by a new one, when it is next acquired."""


class ConnectionCache:
    """Keeps an engine's connections checked out and reuses them, the most recently used first.

    Whoever acquires one has a place in the gate, and there are as many places as connections.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.in_use = 0
        """Connections acquired and not released."""
        self._idle: list[PoolProxiedConnection] = []

    async def acquire(self) -> PoolProxiedConnection:
        """Return an idle connection, or a new one if there is none."""
        now = time.monotonic()
        while self._idle:
            raw = self._idle.pop()
            driver: Any = raw.driver_connection
            if driver.is_closed():  # PostgreSQL has closed it while nobody used it.
                raw.invalidate()
            elif now > raw.info["expire_time"]:
                raw.invalidate(soft=True)  # Tells PostgreSQL, where `invalidate` alone only cuts the connection.
                raw.close()
            else:
                break
        else:
            raw = await self.engine.raw_connection()
            raw.info["expire_time"] = now + MAX_AGE_SECONDS
        self.in_use += 1
        return raw

    def release(self, raw: PoolProxiedConnection) -> None:
        """Keep a connection for the next caller, unless it is closed or in a transaction."""
        self.in_use -= 1
        if not raw.is_valid:
            return
        driver: Any = raw.driver_connection
        # asyncpg's connection that was terminated does not tell of transactions. One that could not be ended would
        # take in what the next one does: the pool knows of no transaction.
        if driver.is_closed() or driver.is_in_transaction():
            raw.invalidate()
        else:
            self._idle.append(raw)

    def discard(self, raw: PoolProxiedConnection) -> None:
        """Close a connection, whatever it is doing."""
        self.in_use -= 1
        if raw.is_valid:
            raw.invalidate()

    async def close(self) -> None:
        """Close the idle connections and the pool."""
        while self._idle:
            self._idle.pop().close()
        await self.engine.dispose()
