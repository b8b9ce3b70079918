"""No call tells by the time it takes whether an e-mail address has an account.

At the lowest cost of passwords, where a difference would be largest beside the rest.
"""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING

import pytest

from services.auth.admin import ensure_account
from tests.support.auth import PASSWORD, RunningAuth, running_auth
from tests.support.refusals import outcome
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.postgres import Clone
    from tests.support.smtp import Mailbox

KNOWN, UNKNOWN = "known@example.com", "nobody@example.com"
CALLS: dict[str, Callable[[RunningAuth, str], Awaitable[object]]] = {
    "login": lambda auth, email: auth.login(email, "a wrong password"),
    "register": lambda auth, email: auth.register(email, "another long password"),
    "reset": lambda auth, email: auth.request_reset(email),
}
ROUNDS = 60
ATTEMPTS = 3
"""A difference shows in every attempt; noise does not."""


@pytest.mark.alone
@pytest.mark.parametrize("name", CALLS)
async def test_known_and_unknown_addresses_take_alike(auth_database: Clone, mailbox: Mailbox, name: str) -> None:
    urls = auth_database.owner_url, auth_database.app_url
    async with running_auth(*urls, smtp_url=mailbox.url, registration_requires_verified_email=True) as auth:
        await ensure_account(auth.settings, email=KNOWN, password=PASSWORD, name="Thandi", role="ROLE_STUDENT")
        ratios = []
        for _ in range(ATTEMPTS):
            known, unknown = await _medians(auth, CALLS[name])
            ratios.append(known / unknown)
            if 0.9 < ratios[-1] < 1.1:
                return
    raise AssertionError(f"known addresses take {ratios} times as long")


async def _medians(auth: RunningAuth, call: Callable[[RunningAuth, str], Awaitable[object]]) -> tuple[float, float]:
    """Return what the call takes for either address, in random order, each when the jobs of the one before are done."""

    async def idle() -> bool:
        return await auth.sql("SELECT FROM pgqueuer") == []

    seconds: dict[str, list[float]] = {KNOWN: [], UNKNOWN: []}
    order = [KNOWN, UNKNOWN] * ROUNDS
    random.shuffle(order)
    for email in order:
        started = time.perf_counter()
        await outcome(call(auth, email))
        seconds[email].append(time.perf_counter() - started)
        await eventually(idle)
    known, unknown = [statistics.median(each) for each in seconds.values()]
    print(f"known {known * 1000:.2f} ms, unknown {unknown * 1000:.2f} ms")  # noqa: T201 - shown by pytest -s
    return known, unknown
