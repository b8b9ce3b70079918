"""Admission to the pool of database connections: first come, first served, with a bound for each account."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import Histogram

from services.shared.errors import DependencyUnavailable, Overloaded
from services.shared.principal import current_account, note_failed_dependency, note_late

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry

ACCOUNT_SHARE = 4
"""Share of the connections that one account may hold at once, as a divisor; at least 2 connections."""

SILENCE_SECONDS = 0.5
"""Time without any answer, of probes every quarter of a second neither, after which a call was not alone in waiting."""
RECOVERY_SECONDS = 5.0
"""Time in which a database that was silent is expected to be slow."""
BUCKETS_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10)
GRANTED, REFUSED, ABANDONED = OUTCOMES = ("granted", "refused", "abandoned")


@dataclass(slots=True)
class _Account:
    places: asyncio.Semaphore
    users: int = field(default=0)
    """Calls that have a place or wait for one."""


class Gate:
    """The places of a pool.

    Work keeps its place while it waits for a lock, and what waits for a lock are mostly calls of the account that holds
    it: without a bound of its own, one account with many calls at once would take every connection from the others.
    So would many jobs of one kind, which count as one account.
    """

    def __init__(self, places: int, registry: CollectorRegistry | None = None) -> None:
        """Create a pool of `places`. `registry` is given the metrics of the waits."""
        self.waiting = 0
        """Work that waits for a place."""
        self.shut = False
        """Whether work is refused, waiting work too: the database does not answer."""
        self.answer_time = float("-inf")
        """When the database last answered, on the system's monotonic clock, in seconds."""
        self.silent_time = float("-inf")
        """When it was last found not to answer."""
        self._places = asyncio.Semaphore(places)
        self._max_per_account = min(places, max(2, places // ACCOUNT_SHARE))
        self._accounts: dict[str, _Account] = {}
        seconds = Histogram(
            "azora_database_wait_seconds",
            "Time that transactions and reads waited for a connection.",
            ("outcome",),
            registry=registry,
            buckets=BUCKETS_SECONDS,
        )
        self._seconds = {outcome: seconds.labels(outcome) for outcome in OUTCOMES}

    async def acquire(self) -> str:
        """Wait for a place; return whose it is, for `release`: of the account of the current call or job, or nobody's.

        Raises DependencyUnavailable while the gate is shut.
        """
        account_id = current_account()
        began, outcome = time.perf_counter(), REFUSED
        self.waiting += 1
        try:
            self.check()
            await self._acquire(account_id)
            if self.shut:
                self.release(account_id)
                self.check()
            outcome = GRANTED
        except asyncio.CancelledError:
            outcome = ABANDONED
            note_late(Overloaded(retry_after_seconds=1))
            raise
        finally:
            self.waiting -= 1
            self._seconds[outcome].observe(time.perf_counter() - began)
        return account_id

    def check(self) -> None:
        """Raise DependencyUnavailable while the gate is shut; the mesh shall not try again: all have one database."""
        if self.shut:
            note_failed_dependency()
            raise DependencyUnavailable(retry_after_seconds=1)

    @contextmanager
    def at_database(self) -> Iterator[None]:
        """Have a call whose deadline passes within the block say that the database did not answer, where that is known.

        It is not where others are answered: then what the call waited for is a lock, or its statement is slow.
        """
        began = time.monotonic()
        try:
            yield
        except asyncio.CancelledError:
            silent = time.monotonic() - self.answer_time > SILENCE_SECONDS
            if silent or began - self.silent_time < RECOVERY_SECONDS:
                note_late(DependencyUnavailable(retry_after_seconds=1))
            raise

    def release(self, account_id: str, *, answered: bool = False) -> None:
        """Give a place back, and note whether the database answered."""
        if answered:
            self.answer_time = time.monotonic()
        self._places.release()
        self._release_of(account_id)

    async def _acquire(self, account_id: str) -> None:
        if account_id:
            await self._acquire_of(account_id)
        try:
            await self._places.acquire()
        except BaseException:
            self._release_of(account_id)
            raise

    async def _acquire_of(self, account_id: str) -> None:
        account = self._accounts.get(account_id)
        if account is None:
            account = self._accounts[account_id] = _Account(asyncio.Semaphore(self._max_per_account))
        account.users += 1
        try:
            await account.places.acquire()
        except BaseException:
            self._leave(account_id, account)
            raise

    def _release_of(self, account_id: str) -> None:
        if account_id:
            account = self._accounts[account_id]
            account.places.release()
            self._leave(account_id, account)

    def _leave(self, account_id: str, account: _Account) -> None:
        account.users -= 1
        if not account.users:
            del self._accounts[account_id]
