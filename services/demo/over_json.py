"""The story's client as a web client has it: JSON over HTTP."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from services.demo.learner import Course, Enrollment, Movement, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from services.local.public_port import PublicPort

TIMEOUT_SECONDS = 15


class JsonLearner:
    """A learner over JSON."""

    way = "JSON over HTTP"

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    @classmethod
    @asynccontextmanager
    async def connect(cls, port: PublicPort) -> AsyncIterator[JsonLearner]:
        """Give a learner at the public port."""
        async with port.http(timeout_seconds=TIMEOUT_SECONDS) as http:
            yield cls(http)

    async def register(self, email: str, password: str, name: str) -> None:
        """Make an account."""
        await self._call("POST", "/v1/auth/register", {"email": email, "password": password, "name": name})

    async def login(self, email: str, password: str) -> str:
        """Sign in; return the person's name."""
        session = await self._call("POST", "/v1/auth/login", {"email": email, "password": password})
        self._http.headers["authorization"] = f"Bearer {session['accessToken']}"
        return str(session["user"]["name"])

    async def courses(self) -> Sequence[Course]:
        """Browse the catalogue."""
        listed = (await self._call("GET", "/v1/courses"))["courses"]
        return [
            Course(
                course["id"],
                course["title"],
                int(course["price"]["minorUnits"]),
                int(course["completionReward"]["minorUnits"]),
            )
            for course in listed
        ]

    async def lessons(self, course_id: str) -> Sequence[tuple[str, str]]:
        """Return ids and titles of a course's required lessons."""
        course = (await self._call("GET", f"/v1/courses/{course_id}"))["course"]
        return [
            (lesson["id"], lesson["title"])
            for module in course["modules"]
            for lesson in module["lessons"]
            if lesson["required"]
        ]

    async def enroll(self, course_id: str, key: str) -> Enrollment:
        """Enrol, under an idempotency key."""
        answer = await self._call("POST", f"/v1/courses/{course_id}/enroll", {}, {"idempotency-key": key})
        return _enrollment(answer)

    async def complete(self, enrollment_id: str, lesson_id: str) -> Enrollment:
        """Complete a lesson."""
        path = f"/v1/enrollments/{enrollment_id}/lessons/{lesson_id}:complete"
        return _enrollment(await self._call("POST", path, {}))

    async def enrollment(self, enrollment_id: str) -> Enrollment:
        """Read an enrolment."""
        return _enrollment(await self._call("GET", f"/v1/enrollments/{enrollment_id}"))

    async def available(self) -> int:
        """Return what the wallet can spend, in minor units of AZR."""
        balances = (await self._call("GET", "/v1/wallet"))["wallet"]["balances"]
        return sum(int(balance["available"]) for balance in balances if balance["currency"] == "AZR")

    async def refund(self, payment_id: str, reason: str) -> int:
        """Ask for all of a payment back; return how much came, in minor units."""
        answer = await self._call("POST", "/v1/refunds", {"paymentId": payment_id, "reason": reason})
        return int(answer["refund"]["amount"]["minorUnits"])

    async def history(self) -> Sequence[Movement]:
        """Return the wallet's movements, newest first."""
        return [
            Movement(
                movement["type"].removeprefix("TRANSACTION_TYPE_").lower(),
                int(movement["amount"]["minorUnits"]),
                int(movement["balanceAfter"]["minorUnits"]),
                movement["description"],
            )
            for movement in (await self._call("GET", "/v1/transactions"))["transactions"]
        ]

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        try:
            response = await self._http.request(method, path, json=body, headers=headers)
        except httpx.TransportError as error:
            raise ConnectionError(path) from error
        answer: dict[str, Any] = response.json()
        if response.is_error:
            details = answer.get("details", [])
            raise Refused(path, next((detail["reason"] for detail in details if "reason" in detail), answer["message"]))
        return answer


def _enrollment(answer: dict[str, Any]) -> Enrollment:
    enrollment = answer["enrollment"]
    return Enrollment(
        enrollment["id"],
        enrollment["state"].removeprefix("ENROLLMENT_STATE_").lower(),
        enrollment["progress"]["basisPoints"],
        enrollment["paymentId"],
    )
