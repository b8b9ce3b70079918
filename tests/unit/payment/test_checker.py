"""The checker of invariants finds nothing wrong with a right ledger, and each mistake of a wrong one."""

from __future__ import annotations

import random
from uuid import UUID

import pytest

from tests.support.checker import History, check
from tests.support.memory_ledger import MemoryLedger, Mutant

USERS = [str(UUID(int=number << 96)) for number in range(1, 6)]
SEEDS = range(5)
ROUNDS, SIZE = 30, 8


async def found(mutant: Mutant, seed: int) -> list[str]:
    """Return what the checker finds after rounds of two writers."""
    ledger, history, chance = MemoryLedger(mutant), History(USERS), random.Random(seed)  # noqa: S311
    for _ in range(ROUNDS):
        await ledger.round(history, chance, size=SIZE)
    return await check(ledger, history)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_right_ledger_passes(seed: int) -> None:
    assert await found(Mutant.NONE, seed) == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", [mutant for mutant in Mutant if mutant is not Mutant.NONE], ids=lambda m: m.name)
async def test_every_mutant_is_caught(mutant: Mutant, seed: int) -> None:
    assert await found(mutant, seed)
