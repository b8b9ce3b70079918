"""The limits of the rate-limit tiers: the contract's, unless a setting replaces them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from services.shared.policy import Tier

MAX_PER_MINUTE = 1_000_000
DIMENSIONS = ("per_address", "per_user")


def effective_tiers(changes: str, scale: float = 1.0) -> Mapping[str, Tier]:
    """Return the tiers by name, with the limits per minute of `changes`: "MONEY.per_user=120,PUBLIC.per_address=600".

    All are multiplied by `scale`. Raises ValueError for what the contract does not limit, and for limits that are none.
    """
    from services.shared.policy import tiers  # noqa: PLC0415 - settings are read where the contract is not needed

    changed = dict(tiers())
    for change in filter(None, (entry.strip() for entry in changes.split(","))):
        name, _, limit = change.partition("=")
        tier_name, _, dimension = name.strip().partition(".")
        tier = changed.get(tier_name)
        if tier is None or dimension not in DIMENSIONS or not getattr(tier, dimension):
            raise ValueError(f"must name limits of the contract: {', '.join(_names(changed.values()))}")
        if not limit.strip().isdecimal() or not 1 <= int(limit) <= MAX_PER_MINUTE:
            raise ValueError(f"{tier_name}.{dimension} must be from 1 to {MAX_PER_MINUTE} per minute")
        replaced: dict[str, Any] = {dimension: int(limit)}
        changed[tier_name] = replace(tier, **replaced)
    return changed if scale == 1 else {name: tier.scaled(scale) for name, tier in changed.items()}


def _names(tiers: Iterable[Tier]) -> list[str]:
    return [f"{tier.name}.{dimension}" for tier in tiers for dimension in DIMENSIONS if getattr(tier, dimension)]


def _checked(changes: str) -> str:
    if changes:
        effective_tiers(changes)
    return changes


RateLimitChanges = Annotated[str, AfterValidator(_checked)]
"""A setting for `effective_tiers`."""
