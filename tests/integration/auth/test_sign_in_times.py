"""How long signing in takes: whoever it is, and however many do."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

import pytest
from azora.auth.v1 import token_service_pb2 as pb
from grpc import aio

from services.auth.container import Container
from services.auth.errors import PasswordChecksBusy
from services.shared.principal import ANYONE
from tests.support.auth import PASSWORD, auth_settings, running_auth
from tests.support.refusals import described, refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.support.postgres import Clone

pytestmark = pytest.mark.alone


async def test_an_unknown_address_takes_as_long_as_a_wrong_password(auth_database: Clone) -> None:
    async with running_auth(auth_database.owner_url, auth_database.app_url, bcrypt_cost=9) as auth:
        await auth.register("known@example.com")
        known = [await _seconds(refusal(auth.login("known@example.com", "a wrong password"))) for _ in range(7)]
        unknown = [await _seconds(refusal(auth.login("unknown@example.com", "a wrong password"))) for _ in range(7)]
    assert 0.5 < statistics.median(unknown) / statistics.median(known) < 2


async def test_more_sign_ins_than_can_be_checked_in_time_are_refused_at_once(auth_database: Clone) -> None:
    async with running_auth(auth_database.owner_url, auth_database.app_url, bcrypt_cost=11) as auth:
        await auth.register("thandi@example.com")
        timeout = max(1.0, 5 * await _seconds(auth.login("thandi@example.com")))
        started = time.perf_counter()

        async def sign_in() -> tuple[str, float, float]:
            try:
                await auth.login("thandi@example.com", timeout=timeout)
            except aio.AioRpcError as error:
                if error.code().name == "RESOURCE_EXHAUSTED":
                    refused = described(error)
                    return refused.reason, refused.retry_after_seconds, time.perf_counter() - started
                return error.code().name, 0, 0
            return "OK", 0, time.perf_counter() - started

        outcomes = await asyncio.gather(*(sign_in() for _ in range(60)))
    busy = [outcome for outcome in outcomes if outcome[0] == "PASSWORD_CHECKS_BUSY"]
    assert len(busy) >= 10
    assert min(retry_after_seconds for _, retry_after_seconds, _ in busy) >= 1
    # Who is refused does not queue first: most of them know before the last of the others has been checked.
    last_checked_seconds = max(seconds for reason, _, seconds in outcomes if reason == "OK")
    assert statistics.median(seconds for *_, seconds in busy) < last_checked_seconds


async def test_a_sign_in_that_is_too_late_is_refused_before_any_work_of_the_database(auth_database: Clone) -> None:
    container = Container(auth_settings(auth_database.app_url))
    container.passwords._seconds_each = 1000
    container.infrastructure.database._refuse(True)  # What asks it raises DependencyUnavailable.
    with pytest.raises(PasswordChecksBusy):
        await container.sign_in.login(principal=ANYONE, email="thandi@example.com", password=PASSWORD)
    with pytest.raises(PasswordChecksBusy):
        await container.sign_in.register(email="thandi@example.com", password=PASSWORD, name="Thandi")
    await container.close()


async def test_calls_without_database_stay_quick_while_others_sign_in(auth_database: Clone) -> None:
    async with running_auth(auth_database.owner_url, auth_database.app_url, bcrypt_cost=10) as auth:
        await auth.register("thandi@example.com")
        sign_ins = [asyncio.create_task(_seconds(auth.login("thandi@example.com"))) for _ in range(16)]
        calls = []
        while not all(sign_in.done() for sign_in in sign_ins):
            calls.append(await _seconds(auth.tokens.GetOpenIdConfiguration(pb.GetOpenIdConfigurationRequest())))
        seconds_for_all = max([await sign_in for sign_in in sign_ins])
    # All CPUs hash, one password in this time: whoever waited for one would take as long.
    assert statistics.quantiles(calls, n=10)[-1] < seconds_for_all / 16
    assert len(calls) > 10 * 16


async def test_reading_profiles_stays_quick_while_others_sign_in(auth_database: Clone) -> None:
    async with running_auth(auth_database.owner_url, auth_database.app_url, bcrypt_cost=10) as auth:
        session = await auth.register("thandi@example.com")
        sign_ins = [asyncio.create_task(_seconds(auth.login("thandi@example.com"))) for _ in range(16)]
        reads = []
        while not all(sign_in.done() for sign_in in sign_ins):
            reads.append(await _seconds(auth.profile(session.access_token)))
        seconds_for_all = max([await sign_in for sign_in in sign_ins])
    # Were passwords checked on the event loop, a read would get its turn between two of them at best.
    assert statistics.median(reads) < seconds_for_all / 16 / 2
    assert len(reads) > 2 * 16


async def _seconds(call: Awaitable[object]) -> float:
    started = time.perf_counter()
    await call
    return time.perf_counter() - started
