"""Bytes kept on a real Redis: found again by the same service only, and never waited for."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis as Client

from services.shared import redis_server, shared_cache
from services.shared.redis_server import RedisServer
from services.shared.shared_cache import SharedCache

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.redis import Redis

KEY = bytes(32)
ANSWER_SECONDS = 1.0


@pytest.fixture
async def server(redis: Redis) -> AsyncIterator[RedisServer]:
    asked = to(redis)
    yield asked
    await asked.close()


@pytest.fixture
def cache(server: RedisServer) -> SharedCache:
    return SharedCache(server, namespace="parts", key=KEY)


def to(redis: Redis) -> RedisServer:
    """Return what asks the Redis."""
    return RedisServer(redis.url, lost="lost", found="found", max_connections=16)


async def test_what_is_kept_is_found_by_another_process(redis: Redis, cache: SharedCache) -> None:
    assert await cache.find("a") is None
    await cache.keep("a", b"lessons\0\xff")
    other = SharedCache(to(redis), namespace="parts", key=KEY)
    assert await other.find("a") == b"lessons\0\xff"
    await other.close()


@pytest.mark.parametrize("answer", [5, "OK", [b"lessons"]])
async def test_what_are_no_bytes_is_not_there(
    server: RedisServer, cache: SharedCache, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    async def execute_command(*_command: object) -> object:
        return answer

    monkeypatch.setattr(server.client, "execute_command", execute_command)
    assert await cache.find("a") is None


async def test_what_another_wrote_is_not_there(redis: Redis, cache: SharedCache) -> None:
    """Another installation with the same server, bytes that were changed, or moved to another key."""
    await cache.keep("a", b"lessons")
    stranger = SharedCache(to(redis), namespace="parts", key=b"1" * 32)
    assert await stranger.find("a") is None
    await stranger.close()
    client: Any = Client.from_url(redis.url)
    stored = await client.get("azora:parts:a")
    assert 0 < await client.ttl("azora:parts:a") <= shared_cache.LIFETIME.total_seconds()
    await client.set("azora:parts:b", stored)
    await client.set("azora:parts:a", stored[:-1] + b"S")
    await client.set("azora:parts:c", b"short")
    await client.aclose()
    assert [await cache.find(key) for key in "abc"] == [None] * 3


async def test_a_server_that_does_not_answer_is_left_alone_and_found_again(
    redis: Redis, server: RedisServer, cache: SharedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cache.keep("a", b"lessons")
    redis.send(signal.SIGSTOP)
    begun = time.monotonic()
    for _ in range(50):
        assert await cache.find("a") is None
        await cache.keep("b", b"more")
    assert time.monotonic() - begun < ANSWER_SECONDS
    redis.send(signal.SIGCONT)
    monkeypatch.setattr(redis_server, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(server, "_again_at", float("-inf"))
    assert await cache.find("a") == b"lessons"
    redis.kill()
    assert await cache.find("a") is None
