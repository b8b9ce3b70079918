"""Sliding-window counters on a Redis-compatible server, for all replicas of a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from interceptors.windows import decide

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from interceptors.windows import Hit

Answer = TypeVar("Answer")

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


class CountersServer(Protocol):
    """A Redis-compatible server that answers soon or not at all."""

    client: Any

    async def ask(self, command: Callable[[], Awaitable[Answer]]) -> Answer | None:
        """Return the answer to a command of the client; None where the server does not answer."""

    async def close(self) -> None:
        """Close all connections."""


class SharedWindows:
    """Counts as `Windows` does."""

    def __init__(self, server: CountersServer) -> None:
        self._server = server
        self._script: Any = server.client.register_script(HIT_SCRIPT)

    async def hit(self, key: Sequence[str], limit: int, *, cost: int = 1) -> Hit | None:
        """Count a hit as `Windows.hit` does; None where the server does not answer."""

        async def count() -> Hit:
            counted = await self._script(keys=[f"azora:rate:{':'.join(key)}"], args=[limit, cost])
            # Raises for anything but three numbers: a server that answers so does not count.
            current, previous, into_milliseconds = map(int, counted)
            return decide(current, previous, into_milliseconds / 1000, limit, cost)

        return await self._server.ask(count)

    async def close(self) -> None:
        """Close all connections."""
        await self._server.close()
