"""Counts calls per address and user, and refuses those above the policy's tier.

Callers are told by the fields RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset and RateLimit-Policy of
draft-ietf-httpapi-ratelimit-headers-06, the last with a field for each of them, and by Retry-After (RFC 9110).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING

from prometheus_client import Counter
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from interceptors.base import Interceptor
from interceptors.shared_windows import SharedWindows
from interceptors.windows import WINDOW_SECONDS, Windows
from services.shared.errors import RateLimited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client import CollectorRegistry

    from interceptors.base import Call, Proceed
    from interceptors.shared_windows import CountersServer
    from interceptors.windows import Hit
    from services.shared.policy import MethodPolicy, Tier
    from services.shared.principal import Principal

CREDENTIALS = "CREDENTIALS"


class Decisions(Collector):
    """The metric of what was decided. The library's counters would cost a call as much as the decision."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        if registry is not None:
            registry.register(self)

    def count(self, tier: str, decision: str) -> None:
        """Count a decision on a call of a tier."""
        key = (tier, decision)
        self._counts[key] = self._counts.get(key, 0) + 1

    def describe(self) -> Iterator[CounterMetricFamily]:
        """Yield the name, which a registry has once."""
        return self.collect()

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the counts."""
        decisions = CounterMetricFamily(
            "azora_rate_limit_decisions", "Decisions of the rate limits.", labels=("tier", "decision")
        )
        for labels, count in self._counts.items():
            decisions.add_metric(labels, count)
        yield decisions


@dataclass(slots=True)
class _Limit:
    """The limit of a tier in one of its dimensions."""

    tier: str
    dimension: str
    identity: Callable[[Principal], str]
    """Whom of a dimension a call counts for."""
    calls: int
    """Calls of a minute."""
    windows: Windows = field(default_factory=Windows)
    """Those counted in this process."""


def _limits_of(tier: Tier) -> tuple[_Limit, ...]:
    limits = (
        _Limit(tier.name, "address", attrgetter("network"), tier.per_address),
        _Limit(tier.name, "user", attrgetter("id"), tier.per_user),
    )
    return tuple(limit for limit in limits if limit.calls)


class Limiter:
    """Counters of the last minute, in this process or, with a server for them, shared by all replicas.

    While the shared counters do not answer, credentials are counted in this process and the rest is let through:
    guessing passwords must stay slow, and everything else must stay up.
    """

    def __init__(
        self,
        *,
        scale: float = 1.0,
        tiers: Mapping[str, Tier] | None = None,
        server: CountersServer | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        """Multiply every limit by `scale`. `tiers` replace those of the contract, by name.

        `registry` offers the metrics of what was decided.
        """
        self._scale = scale
        self._tiers = {name: tier.scaled(scale) for name, tier in (tiers or {}).items()}
        self._limits_by_tier: dict[str, tuple[_Limit, ...]] = {}
        self._decisions = Decisions(registry)
        self._fallbacks = Counter(
            "azora_rate_limit_fallbacks",
            "Decisions without the shared counters, which did not answer.",
            ("tier",),
            registry=registry,
        )
        self._shared = SharedWindows(server) if server is not None else None

    async def close(self) -> None:
        """Close the connections to the shared counters."""
        if self._shared is not None:
            await self._shared.close()

    def _limits(self, policy: MethodPolicy) -> tuple[_Limit, ...]:
        """Return the limits of a method's tier; none for a method without one."""
        if policy.tier is None:
            return ()
        limits = self._limits_by_tier.get(policy.tier.name)
        if limits is None:
            tier = self._tiers.get(policy.tier.name) or policy.tier.scaled(self._scale)
            limits = self._limits_by_tier[policy.tier.name] = _limits_of(tier)
        return limits

    async def count_caller(self, call: Call, *, cost: int | None = None) -> None:
        """Count the call per address and user, as its tier says; services of the mesh are not counted.

        A `cost` counts as so many calls beside the call itself: at most as many as the limit ever has room for. Raises
        RateLimited.
        """
        principal = call.served.principal
        if principal.service:
            return
        for limit in self._limits(call.policy):
            hits = 1 if cost is None else min(cost, limit.calls - 1)
            if hits:
                identity = limit.identity(principal)
                if self._shared is None:
                    used: Hit | None = limit.windows.hit(identity, limit.calls, cost=hits)
                else:
                    used = await self._hit_shared(self._shared, limit, identity, hits)
                self._enforce(call, limit, used)

    def _enforce(self, call: Call, limit: _Limit, used: Hit | None) -> None:
        """Count the decision and write the RateLimit headers. Raises RateLimited for a hit above the limit."""
        if used is None:
            self._decisions.count(limit.tier, "unchecked")
            return
        allowed, remaining, reset_seconds = used
        self._decisions.count(limit.tier, "allowed" if allowed else "refused")
        if remaining <= limit.calls // 2:
            headers = call.served.initial_metadata
            if int(headers.get("ratelimit-remaining", remaining)) >= remaining:
                headers |= {
                    "ratelimit-policy": f"{limit.calls};w={WINDOW_SECONDS}",
                    "ratelimit-limit": str(limit.calls),
                    "ratelimit-remaining": str(remaining),
                    "ratelimit-reset": str(reset_seconds),
                }
        if not allowed:
            raise RateLimited(tier=limit.tier, retry_after_seconds=reset_seconds)

    async def _hit_shared(self, shared: SharedWindows, limit: _Limit, identity: str, hits: int) -> Hit | None:
        hit = await shared.hit((limit.tier, limit.dimension, identity), limit.calls, cost=hits)
        if hit is not None:
            return hit
        self._fallbacks.labels(limit.tier).inc()
        return limit.windows.hit(identity, limit.calls, cost=hits) if limit.tier == CREDENTIALS else None


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
