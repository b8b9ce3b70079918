"""500 Enroll and 500 CreateRefund at once: Education waits for Payment and Payment for Education; all are served."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from azora import client
from azora.education.v1 import (
    course_service_pb2,
    course_service_pb2_grpc,
    enrollment_service_pb2,
    enrollment_service_pb2_grpc,
)
from azora.payment.v1 import payment_service_pb2, payment_service_pb2_grpc
from azora.type.v1 import money_pb2
from grpc import aio

from services.shared.backoff import backoff_seconds
from services.shared.ids import new_id
from tests.support.http import plain_http
from tests.support.hurt import go_on, say
from tests.support.people import People
from tests.support.serving import own_connection
from tests.support.statistics import percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from tests.support.system import LocalSystem

pytestmark = pytest.mark.alone
LEARNERS, COURSES = 25, 20
"""Each learner has enrolled in so many courses, and enrols in as many others."""
PRICE_MINOR = 100
COMPARED = 100
"""Calls that are made one after the other first."""
CONNECTIONS = 16
"""The edge takes 64 calls at once on each."""
MAX_SLOWER = 2
"""Than the same calls one after the other: what waits in a circle waits for ten seconds each time."""
SERVED_SECONDS = 90.0
MAX_PAUSE_SECONDS = 8.0
"""Maximum pause after a refusal."""


class Clients:
    """The learners' stubs, over all connections in turn."""

    def __init__(self, channels: Iterable[aio.Channel]) -> None:
        self._channels = itertools.cycle(channels)
        self.seconds: list[float] = []
        self.refusals: Counter[str] = Counter()

    async def enroll(self, learner: client.Metadata, course_id: str) -> str:
        """Enrol in a course; return the payment's ID."""
        stub = enrollment_service_pb2_grpc.EnrollmentServiceStub(next(self._channels))
        request = enrollment_service_pb2.EnrollRequest(course_id=course_id, request_id=new_id())
        answer = await self._persist(lambda: stub.Enroll(request, metadata=learner))
        return str(answer.enrollment.payment_id)

    async def refund(self, learner: client.Metadata, payment_id: str) -> int:
        """Ask for a payment back; return the amount."""
        stub = payment_service_pb2_grpc.PaymentServiceStub(next(self._channels))
        request = payment_service_pb2.CreateRefundRequest(payment_id=payment_id, request_id=new_id())
        answer = await self._persist(lambda: stub.CreateRefund(request, metadata=learner))
        return int(answer.refund.amount.minor_units)

    async def _persist(self, call: Callable[[], Any]) -> Any:
        """Make a call, again with its key when it was refused or not served in time: more is asked than is served."""
        began, failures = time.monotonic(), 0
        while time.monotonic() - began < SERVED_SECONDS:
            try:
                answer = await call()
            except aio.AioRpcError as refused:
                code = refused.code().name
                self.refusals[code] += 1
                if code not in {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}:
                    raise
                failures += 1
                await go_on(backoff_seconds(failures, max_seconds=MAX_PAUSE_SECONDS))
            else:
                self.seconds.append(time.monotonic() - began)
                return answer
        raise AssertionError(f"not served in {SERVED_SECONDS} s: {dict(self.refusals)}")


async def published(channel: aio.Channel, educator: client.Metadata, count: int) -> list[str]:
    """Publish courses that cost something; return their IDs."""
    stub = course_service_pb2_grpc.CourseServiceStub(channel)
    price = money_pb2.Money(minor_units=PRICE_MINOR, currency="AZR")
    module = course_service_pb2.NewModule(title="M", lessons=[course_service_pb2.NewLesson(title="L", content="C")])
    ids = []
    for number in range(count):
        request = course_service_pb2.CreateCourseRequest(title=f"Crossing {number}", price=price, modules=[module])
        ids.append((await stub.CreateCourse(request, metadata=educator)).course.id)
        await stub.PublishCourse(course_service_pb2.PublishCourseRequest(course_id=ids[-1]), metadata=educator)
    return ids


async def test_calls_that_cross_do_not_wait_for_each_other(single: LocalSystem, pytestconfig: pytest.Config) -> None:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(plain_http(single.edge, timeout=20))
        channels = [await stack.enter_async_context(own_connection(single.target)) for _ in range(CONNECTIONS)]
        people, clients = People(http), Clients(channels)
        educator, admin = metadata(await people.educator()), await people.admin()
        courses = await published(channels[0], educator, 2 * COURSES)
        students = await people.students(LEARNERS)
        for student in students:
            await people.fund(student, 2 * COURSES * PRICE_MINOR, admin=admin)
        learners = [*map(metadata, students)]
        first, second = (
            [(learner, course) for course in half for learner in learners]
            for half in (courses[:COURSES], courses[COURSES:])
        )
        began = time.monotonic()
        paid = [await clients.enroll(learner, course) for learner, course in first[:COMPARED]]
        one_by_one = (time.monotonic() - began) / COMPARED
        paid += await asyncio.gather(*(clients.enroll(learner, course) for learner, course in first[COMPARED:]))
        clients.seconds.clear()
        calls: list[Coroutine[Any, Any, object]] = [clients.enroll(*each) for each in second]
        calls += [clients.refund(learner, payment) for (learner, _), payment in zip(first, paid, strict=True)]
        began = time.monotonic()
        answers = await asyncio.gather(*calls)
        at_once = time.monotonic() - began
        say(
            pytestconfig,
            f"one by one {one_by_one * 1000:.0f} ms each, {len(calls)} at once in {at_once:.1f} s, "
            f"{dict(clients.refusals)}, "
            f"p50 {percentile(clients.seconds, 50):.2f} s, p99 {percentile(clients.seconds, 99):.2f} s",
        )
        assert at_once < len(calls) * MAX_SLOWER * one_by_one, "they hold each other up until their deadlines"
        assert all(answers[: len(second)]), "each has its payment"
        assert answers[len(second) :] == [PRICE_MINOR] * len(first)
        assert (await http.get("/v1/ledger/trialBalance", headers=admin)).json()["balanced"]


def metadata(headers: dict[str, str]) -> client.Metadata:
    """Return a person's headers as metadata."""
    return client.bearer(headers["authorization"].removeprefix("Bearer "))
