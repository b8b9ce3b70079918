"""Exact amounts of money: integers of a currency's minor unit, never a float."""

from __future__ import annotations

from dataclasses import dataclass

INT64_MAX = 2**63 - 1
EARNED_TOKEN = "AZR"  # noqa: S105 - a currency


@dataclass(frozen=True, slots=True)
class Money:
    """`amount_minor` minor units of `currency` (AZR or an ISO 4217 code)."""

    amount_minor: int
    currency: str = EARNED_TOKEN
