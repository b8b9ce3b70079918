"""Bytes that never change, on a Redis-compatible server, for all processes of a service."""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.shared.redis_server import RedisServer

LIFETIME = timedelta(days=1)
"""Of what is kept, since it was last read. The server may drop it at any time."""
DIGEST_BYTES = 32


class SharedCache:
    """Keeps bytes that never change, signed: what was not written by this service for this key is not there.

    Nothing depends on it.
    """

    def __init__(self, server: RedisServer, *, namespace: str, key: bytes) -> None:
        """Sign with `key`."""
        self._server = server
        self._namespace = namespace
        self._key = key

    async def find(self, key: str) -> bytes | None:
        """Return what is kept under `key`; None, too, where the server does not answer."""
        stored = await self._ask("GETEX", self._name(key), "EX", _seconds())
        if not isinstance(stored, bytes):
            return None
        digest, data = stored[:DIGEST_BYTES], stored[DIGEST_BYTES:]
        return data if hmac.compare_digest(digest, self._sign(key, data)) else None

    async def keep(self, key: str, data: bytes) -> None:
        """Keep bytes under `key`, if the server answers."""
        await self._ask("SET", self._name(key), self._sign(key, data) + data, "EX", _seconds())

    async def close(self) -> None:
        """Close all connections."""
        await self._server.close()

    async def _ask(self, *command: str | bytes | int) -> object:
        return await self._server.ask(partial(self._server.client.execute_command, *command))

    def _name(self, key: str) -> str:
        return f"azora:{self._namespace}:{key}"

    def _sign(self, key: str, data: bytes) -> bytes:
        return hmac.digest(self._key, self._name(key).encode() + b"\0" + data, hashlib.sha256)


def _seconds() -> int:
    return int(LIFETIME.total_seconds())
