"""kill -9 of every service while people pay for courses, and while they are erased: each saga ends as if nothing was.

One replica of each service: who is killed is away until it is back, and what it was doing goes on from its database.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import signal
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio

from services.shared.ids import new_id
from tests.support.http import plain_http
from tests.support.people import PASSWORD, People
from tests.support.services import SERVICES
from tests.support.waiting import eventually, paced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence

    from tests.support.system import LocalSystem

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]
LEARNERS = 30
FUNDS_MINOR, PRICE_MINOR = 5000, 4900
BEGUN_PER_SECOND = 5
REPEATED_PER_SECOND = 4
SETTLED_SECONDS = 60.0


class Client:
    """Repeats a call until it is answered, as a client does that has an idempotency key."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Make a call; return its answer."""
        async for _ in paced(REPEATED_PER_SECOND, SETTLED_SECONDS):
            try:
                answer = await self.http.request(method, path, **arguments)
            except httpx.TransportError:
                continue
            if answer.status_code < 500:
                return answer
        raise AssertionError(f"{method} {path} is not answered")

    async def balance(self, learner: dict[str, str]) -> dict[str, str]:
        """Return the learner's balance, without its etag."""
        (balance,) = (await self.call("GET", "/v1/wallet", headers=learner)).json()["wallet"]["balances"]
        return {name: balance[name] for name in ("posted", "held", "available")}


@pytest_asyncio.fixture(loop_scope="module")
async def client(single: LocalSystem) -> AsyncIterator[Client]:
    """Give a client of its edge."""
    async with plain_http(single.edge, timeout=20) as http:
        yield Client(http)


@pytest_asyncio.fixture(loop_scope="module")
async def learners(client: Client) -> list[dict[str, str]]:
    """Give learners who have what the course costs, and a little more."""
    people = People(client.http)
    admin = await people.admin()
    made = await people.students(LEARNERS)
    for learner in made:
        await people.fund(learner, FUNDS_MINOR, admin=admin)
    return made


async def spread(calls: Sequence[Coroutine[Any, Any, httpx.Response]]) -> list[httpx.Response]:
    """Begin calls one after the other, over some seconds; return their answers."""
    pace = paced(BEGUN_PER_SECOND, math.inf)
    begun = []
    for call in calls:
        await anext(pace)
        begun.append(asyncio.create_task(call))
    return await asyncio.gather(*begun)


async def amid_kills(
    system: LocalSystem, calls: Sequence[Coroutine[Any, Any, httpx.Response]], times: int
) -> list[httpx.Response]:
    """Make the calls while one service after the other is killed, each as soon as the one before is back."""

    async def kill() -> None:
        for _, service in itertools.product(range(times), SERVICES):
            await system.end_process(service, signal.SIGKILL)

    answers, _ = await asyncio.gather(spread(calls), kill())
    return answers


async def is_verified(system: LocalSystem) -> None:
    """Check the ledger and the audit logs."""
    done = await asyncio.to_thread(system.azora, "verify")
    assert done.returncode == 0, done.stdout + done.stderr


async def test_who_pays_for_a_course_has_it_once(
    single: LocalSystem, client: Client, learners: list[dict[str, str]], pytestconfig: pytest.Config
) -> None:
    courses = (await client.call("GET", "/v1/courses", params={"pageSize": 100})).json()["courses"]
    course = next(course for course in courses if course["price"]["minorUnits"] == str(PRICE_MINOR))
    path = f"/v1/courses/{course['id']}/enroll"
    enrolling = [
        client.call("POST", path, json={}, headers=learner | {"idempotency-key": new_id()}) for learner in learners
    ]
    answers = await amid_kills(single, enrolling, pytestconfig.getoption("--saga-kills"))
    assert {answer.status_code for answer in answers} == {200}, {answer.text for answer in answers}
    for learner, answer in zip(learners, answers, strict=True):
        path = f"/v1/enrollments/{answer.json()['enrollment']['id']}"

        async def active(path: str = path, learner: dict[str, str] = learner) -> bool:
            found = (await client.call("GET", path, headers=learner)).json()["enrollment"]
            return str(found["state"]) == "ENROLLMENT_STATE_ACTIVE"

        await eventually(active, within_seconds=SETTLED_SECONDS)
        left = str(FUNDS_MINOR - PRICE_MINOR)
        assert await client.balance(learner) == {"posted": left, "held": "0", "available": left}
    await is_verified(single)


async def test_who_asks_for_it_is_erased(
    single: LocalSystem, client: Client, learners: list[dict[str, str]], pytestconfig: pytest.Config
) -> None:
    ids = [(await client.call("GET", "/v1/auth/profile", headers=learner)).json()["user"]["id"] for learner in learners]
    body = {"password": PASSWORD, "forfeitBalance": True}
    deleting = [client.call("DELETE", "/v1/auth/profile", json=body, headers=learner) for learner in learners]
    answers = await amid_kills(single, deleting, pytestconfig.getoption("--saga-kills"))
    # 401: the second attempt at a call whose first had its effect, and no answer: it signs out.
    assert {answer.status_code for answer in answers} <= {200, 401}, {answer.text for answer in answers}
    admin = await People(client.http).admin()
    for user_id in ids:

        async def erased(user_id: str = user_id) -> bool:
            return (await client.call("GET", f"/v1/users/{user_id}", headers=admin)).status_code == 404

        await eventually(erased, within_seconds=SETTLED_SECONDS)
    await is_verified(single)
