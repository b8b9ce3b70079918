"""A guard against floods, per address, before anything that costs: the fair limits are the services' own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.compiler.envoy.typed import Json, extension
from services.shared.principal import IPV6_PREFIX_BITS
from services.shared.rate_limits import effective_tiers

if TYPE_CHECKING:
    from services.compiler.envoy.profiles import Profile
    from services.shared.policy import Tier

FACTOR = 5
"""How far above a tier's own limit the guard stands: it must never refuse what the service would let through."""
REFILLS_PER_MINUTE = 10
REFILL_SECONDS = 60 // REFILLS_PER_MINUTE
ADDRESSES = 10_000
UNLIMITED = 2**31 - 1
METADATA = "azora"
EVERYONE = "PUBLIC"
"""The tier of what has none: health, pages."""
REFLECTION = "REFLECTION"
"""The tier of reflection's streams."""
REFLECTION_PER_MINUTE = 60
NETWORK = {"masked_remote_address": {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": IPV6_PREFIX_BITS}}
"""One client: an IPv4 address, or the /64 that an IPv6 subscriber has at least."""


def flood_guard(profile: Profile) -> Json:
    """Return the filter: a bucket per tier and address. Routes name their tier with `in_tier`."""
    always = {"default_value": {"numerator": 100}}
    return extension(
        "envoy.filters.http.local_ratelimit",
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        stat_prefix="flood_guard",
        rate_limited_as_resource_exhausted=True,
        max_dynamic_descriptors=ADDRESSES,
        filter_enabled=always,
        filter_enforced=always,
        rate_limits=[{"actions": [_tier_of_route(), NETWORK]}],
        # What no bucket counts: it is refused without cost, by the transcoder or for want of a route.
        token_bucket=_bucket(UNLIMITED),
        descriptors=[
            {
                # An entry without a value makes a bucket for each value: for each address.
                "entries": [{"key": "tier", "value": name}, {"key": "masked_remote_address"}],
                "token_bucket": _bucket(min(UNLIMITED, int(limit * profile.rate_limit_scale))),
            }
            for name, limit in _per_minute(profile.rate_limits).items()
        ],
    )


def in_tier(name: str) -> Json:
    """Return a route's metadata that names its tier."""
    return {"filter_metadata": {METADATA: {"tier": name}}}


def per_minute(tier: Tier) -> int:
    """Return how often one address may call: as one person, where the tier counts people."""
    return tier.per_address or tier.per_user


def _per_minute(changes: str) -> dict[str, int]:
    tiers = effective_tiers(changes).values()
    return {tier.name: FACTOR * per_minute(tier) for tier in tiers} | {REFLECTION: REFLECTION_PER_MINUTE}


def _tier_of_route() -> Json:
    key = {"key": METADATA, "path": [{"key": "tier"}]}
    return {"metadata": {"descriptor_key": "tier", "metadata_key": key, "source": "ROUTE_ENTRY"}}


def _bucket(max_per_minute: int) -> Json:
    return {
        "max_tokens": max(1, max_per_minute),
        "tokens_per_fill": max(1, max_per_minute // REFILLS_PER_MINUTE),
        "fill_interval": f"{REFILL_SECONDS}s",
    }
