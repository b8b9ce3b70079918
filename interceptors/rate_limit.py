"""Counts calls per address, user and account, and refuses those above the policy's tier."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from typing import TYPE_CHECKING, Any

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from prometheus_client import Counter

from interceptors.base import Interceptor
from interceptors.windows import Windows
from services.shared.errors import RateLimited

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from interceptors.base import Call, Proceed
    from services.shared.policy import MethodPolicy, Tier

logger = logging.getLogger(__name__)

STORE_TIMEOUT_SECONDS = 0.25
STORE_RETRY_SECONDS = 5.0


class Limiter:
    """Counters of the last minute, in this process or, with a Redis URL, shared by all replicas.

    While the shared counters do not answer, credentials are counted in this process and the rest is let through:
    guessing passwords must stay slow, and everything else must stay up.
    """

    def __init__(self, *, scale: float = 1.0, redis_url: str = "", registry: CollectorRegistry | None = None) -> None:
        """Multiply every limit by `scale`. `registry` offers the metrics of what was decided."""
        self._scale = scale
        self._decisions = Counter(
            "azora_rate_limit_decisions", "Decisions of the rate limits.", ("tier", "decision"), registry=registry
        )
        self._counters: dict[tuple[str, str], Counter] = {}
        self._local = Windows()
        self._shared: SlidingWindowCounterRateLimiter | None = None
        self._shared_failed = False
        self._shared_again_at = float("-inf")
        self._connections: Any = None
        if redis_url:
            storage = RedisStorage(
                f"async+{redis_url}",
                implementation="redispy",
                socket_timeout=STORE_TIMEOUT_SECONDS,
                socket_connect_timeout=STORE_TIMEOUT_SECONDS,
            )
            self._shared = SlidingWindowCounterRateLimiter(storage)
            bridge: Any = storage.bridge
            self._connections = bridge.get_connection()

    async def close(self) -> None:
        """Close the connections to the shared counters."""
        if self._connections is not None:
            await self._connections.aclose()

    async def count_caller(self, call: Call, *, cost: int | None = None) -> None:
        """Count the call per address and user, as its tier says; services of the mesh are not counted. As `count`."""
        tier, principal = call.policy.tier, call.served.principal
        if tier is None or principal.service:
            return
        if tier.per_address:
            await self.count(call, tier, "address", principal.network, tier.per_address, cost=cost)
        if tier.per_user:
            await self.count(call, tier, "user", principal.id, tier.per_user, cost=cost)

    async def count(
        self, call: Call, tier: Tier, dimension: str, identity: str, per_minute: int, *, cost: int | None = None
    ) -> None:
        """Count the call; note the limit in the answer's headers. Raises RateLimited above it.

        A `cost` counts as so many calls beside the call itself: at most as many as the limit ever has room for.
        """
        limit = max(1, math.floor(per_minute * self._scale))
        hits = 1 if cost is None else min(cost, limit - 1)
        if not hits:
            return
        key = (tier.name, dimension, identity)
        if self._shared is None:
            used: tuple[bool, int, int] | None = self._local.hit(key, limit, cost=hits)
        else:
            used = await self._hit_shared(self._shared, key, limit, hits, strict=tier.name == "CREDENTIALS")
        if used is None:
            self._decided(tier, "unchecked")
            return
        allowed, remaining, reset_seconds = used
        self._decided(tier, "allowed" if allowed else "refused")
        headers = call.served.initial_metadata
        if remaining <= limit // 2 and int(headers.get("ratelimit-remaining", remaining)) >= remaining:
            headers |= {
                "ratelimit-limit": str(limit),
                "ratelimit-remaining": str(remaining),
                "ratelimit-reset": str(reset_seconds),
            }
        if not allowed:
            raise RateLimited(tier=tier.name, retry_after_seconds=reset_seconds)

    def _decided(self, tier: Tier, decision: str) -> None:
        counter = self._counters.get((tier.name, decision))
        if counter is None:
            counter = self._counters[tier.name, decision] = self._decisions.labels(tier.name, decision)
        counter.inc()

    async def _hit_shared(
        self, shared: SlidingWindowCounterRateLimiter, key: tuple[str, ...], limit: int, hits: int, *, strict: bool
    ) -> tuple[bool, int, int] | None:
        if time.monotonic() >= self._shared_again_at:
            if self._shared_failed:  # This call finds out; the others do not wait for it.
                self._shared_again_at = time.monotonic() + STORE_RETRY_SECONDS
            try:
                async with asyncio.timeout(2 * STORE_TIMEOUT_SECONDS):
                    used = await _window(shared, RateLimitItemPerMinute(limit), key, hits)
            except Exception as error:  # noqa: BLE001 - whatever the store's client raises, calls go on
                self._shared_failed = True
                self._shared_again_at = time.monotonic() + STORE_RETRY_SECONDS
                logger.warning("shared rate-limit counters do not answer", extra={"error": type(error).__name__})
            else:
                if self._shared_failed:
                    self._shared_failed, self._shared_again_at = False, float("-inf")
                    logger.info("shared rate-limit counters answer again")
                return used
        return self._local.hit(key, limit, cost=hits) if strict else None


class RateLimit(Interceptor):
    """Counts the call per address or user, before its message is looked at. Services of the mesh are not counted."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    def applies(self, policy: MethodPolicy) -> bool:
        """Whether the method has a tier."""
        return policy.tier is not None

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Count the call. Raises RateLimited."""
        await self._limiter.count_caller(call)
        await proceed()


class AccountRateLimit(Interceptor):
    """Counts attempts on the account that the request names, from wherever they come. Runs after validation."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    def applies(self, policy: MethodPolicy) -> bool:
        """Whether a field of the request names an account."""
        return bool(policy.account_field)

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Count the call. Raises RateLimited."""
        tier, field = call.policy.tier, call.policy.account_field
        if tier is not None and tier.per_account:
            account = str(getattr(call.request, field)).strip().casefold()
            digest = hashlib.sha256(account.encode()).hexdigest()  # Counters hold no e-mail addresses.
            await self._limiter.count(call, tier, "account", digest, tier.per_account)
        await proceed()


class ItemRateLimit(Interceptor):
    """Counts the items of a batch like calls: all but the first, which the call was counted for. After validation."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    def applies(self, policy: MethodPolicy) -> bool:
        """Whether a field of the request lists items."""
        return bool(policy.counted_field)

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Count the items. Raises RateLimited."""
        await self._limiter.count_caller(call, cost=len(getattr(call.request, call.policy.counted_field)) - 1)
        await proceed()


async def _window(
    limiter: SlidingWindowCounterRateLimiter, item: RateLimitItemPerMinute, key: tuple[str, ...], hits: int
) -> tuple[bool, int, int]:
    allowed = await limiter.hit(item, *key, cost=hits)
    stats = await limiter.get_window_stats(item, *key)
    return allowed, max(0, stats.remaining), max(1, math.ceil(stats.reset_time - time.time()))
