"""What a service tells the gateway's console of its background work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from azora.auth.v1 import internal_service_pb2 as pb
from grpc import aio

from interceptors.client import OutgoingCalls
from services.gateway.console.clients import BackgroundWorkClient
from tests.support.economy import Road
from tests.support.refusals import refusal

if TYPE_CHECKING:
    from azora.client import Metadata

    from tests.support.auth import RunningAuth

SUBSCRIBERS = 2
"""Of UserRegistered."""


def identity(name: str) -> Metadata:
    return (("x-forwarded-client-cert", f"URI=spiffe://azora.local/ns/default/sa/{name}"),)


async def test_every_count_and_dead_letter_arrives_and_who_is_silent_is_named(auth: RunningAuth) -> None:
    auth.subscribers.answer = False
    for number in range(3):
        await auth.register(f"person-{number}@example.com")
    await auth.sql(
        "INSERT INTO outbox (event_id, subscriber, type, payload, attempts, reason, dead_time) VALUES"
        " (gen_random_uuid(), 'payment', 'azora.auth.v1.UserRegistered', '', 4, 'EVENT_REFUSED', now())"
    )
    await auth.sql(
        "INSERT INTO pgqueuer (priority, entrypoint, status, attempts, execute_after) VALUES"
        " (0, 'unknown_job', 'queued', 0, now() - interval '1 second'),"
        " (0, 'unknown_job', 'queued', 0, now() + interval '1 hour'),"
        " (0, 'unknown_job', 'queued', 0, now() + interval '1 hour'),"
        " (0, 'unknown_job', 'failed', 6, now())"
    )
    interceptors = [Road(identity("gateway")), OutgoingCalls()]
    async with aio.insecure_channel(auth.target, interceptors=interceptors) as channel:
        answering, silent = await BackgroundWorkClient(channel, ["auth", "payment"]).list_background_work()
    assert list(silent) == ["payment"]
    (work,) = answering
    assert work.service == "auth"
    assert (work.backlog.events, work.backlog.dead_events) == (3 * SUBSCRIBERS, 1)
    assert (work.backlog.jobs, work.backlog.deferred_jobs, work.backlog.failed_jobs) == (1, 2, 1)
    event, job = sorted(work.dead_letters, key=lambda letter: letter.kind)
    assert (event.kind, event.subscriber, event.attempts, event.reason) == ("event", "payment", 4, "EVENT_REFUSED")
    assert (job.kind, job.name, job.subscriber, job.attempts) == ("job", "unknown_job", "", 7)


@pytest.mark.parametrize("caller", ["payment", "envoy"])
async def test_it_is_for_the_gateway_alone(auth: RunningAuth, caller: str) -> None:
    call = auth.internal.GetBackgroundWork(pb.GetBackgroundWorkRequest(), metadata=identity(caller))
    assert (await refusal(call)).code == "PERMISSION_DENIED"
