"""Erasures whose job was lost or given up: the sweep takes them up again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.platform import Platform

EMAIL = "thandi@example.com"


async def test_an_erasure_whose_job_was_lost_is_taken_up_again(platform: Platform) -> None:
    person = await platform.register(EMAIL)
    platform.to_payment.silent.add("*")
    await platform.delete(person)

    async def waits() -> bool:
        return bool(await platform.pending(person.id, "payment"))

    await eventually(waits)
    await platform.auth.sql("DELETE FROM pgqueuer WHERE entrypoint = 'erase_account'")
    platform.to_payment.silent.clear()
    await platform.sweep()
    await platform.erased(person.id)


async def test_a_second_erasure_whose_job_was_given_up_is_taken_up_again(platform: Platform) -> None:
    person = await platform.register(EMAIL)
    await platform.delete(person)
    await platform.erased(person.id)
    await platform.auth.sql("DELETE FROM pgqueuer WHERE entrypoint = 'erase_remainder'")
    await platform.sweep()
    assert not await platform.auth.sql("SELECT FROM pgqueuer WHERE entrypoint = 'erase_remainder'"), "not yet"
    await platform.auth.sql("UPDATE erasures SET complete_time = now() - interval '1 day'")
    await platform.sweep()

    async def done() -> bool:
        return bool(await platform.auth.sql("SELECT FROM erasures WHERE remainder_time IS NOT NULL"))

    async def no_job() -> bool:
        return not await platform.auth.sql("SELECT FROM pgqueuer WHERE entrypoint = 'erase_remainder'")

    await eventually(done)
    await eventually(no_job)  # Its row goes after its work.
    await platform.sweep()
    assert await no_job()
